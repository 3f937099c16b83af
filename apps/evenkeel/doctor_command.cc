// `evenkeel doctor`: is this machine ready to serve, and if not, what to do.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "core/settings.h"
#include "doctor_checks.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel doctor                             check this machine; exit code 1 if something "
    "fails\n"
    "  evenkeel doctor -o json                     the same for programs";

const char* NameOf(Verdict verdict) {
  if (verdict == Verdict::kPass) return "pass";
  return verdict == Verdict::kWarn ? "warn" : "fail";
}

std::vector<Check> AllChecks() {
  std::vector<Check> checks = CheckMachine();
  const Result<Settings> settings = Settings::Resolve(DefaultSources(), nullptr);
  if (!settings.ok()) {
    checks.push_back({"settings", Verdict::kFail, settings.status().message(),
                      "correct it; see: evenkeel config path"});
    return checks;
  }
  checks.push_back({"settings", Verdict::kPass, "all are valid", {}});
  for (Check& check : CheckServing(*settings)) checks.push_back(std::move(check));
  return checks;
}

void Diagnose(Format format) {
  Listing listing;
  listing.columns = {{"CHECK"}, {"RESULT"}, {"FINDING"}};
  Json list = Json::array();
  bool failed = false;
  std::string fixes;
  for (const Check& check : AllChecks()) {
    listing.rows.push_back({check.name, NameOf(check.verdict), check.finding});
    listing.names.push_back(check.name);
    list.push_back({{"name", check.name},
                    {"result", NameOf(check.verdict)},
                    {"finding", check.finding},
                    {"fix", check.fix}});
    failed = failed || check.verdict == Verdict::kFail;
    if (!check.fix.empty()) fixes += "  " + check.name + ": " + check.fix + "\n";
  }
  Print(format, listing, {{"schema", "evenkeel.doctor/v1"}, {"ok", !failed}, {"checks", list}});
  const bool table = format == Format::kTable || format == Format::kWide;
  if (table && !fixes.empty()) std::printf("\nWhat to do\n%s", fixes.c_str());
  if (failed) throw CLI::RuntimeError(kExitFailed);
}

}  // namespace

void RegisterDoctor(CLI::App& app) {
  CLI::App* doctor = app.add_subcommand("doctor", "Check whether this machine is ready to serve");
  doctor->footer(kExamples);
  auto format = std::make_shared<Format>(Format::kTable);
  AddOutputFlag(*doctor, format.get());
  doctor->callback([format] { Diagnose(*format); });
}

}  // namespace evenkeel
