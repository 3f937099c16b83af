// `evenkeel doctor`: is this machine ready to serve, and if not, what to do.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cluster/measure/resources.h"
#include "commands.h"
#include "core/settings.h"
#include "doctor_checks.h"
#include "figures.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel doctor                             check this machine; exit code 1 if something "
    "fails\n"
    "  evenkeel doctor -o json                     the same for programs\n"
    "  evenkeel doctor --bench                     also measure how fast it is: five seconds";

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

// What the server is worth to a cluster, measured now and kept for it.
Json MeasureResources() {
  const Result<Settings> settings = Settings::Resolve(DefaultSources(), nullptr);
  if (!settings.ok()) return nullptr;  // the check says why
  const MeasuredResources found =
      ResourcesOfThisServer(settings->text("state"), /*again=*/true, std::chrono::seconds(4));
  Json resources = {{"cores", found.vector.cores},
                    {"gflops", found.vector.gflops},
                    {"memory_gb_s", found.vector.memory_gb_s},
                    {"memory_bytes", found.vector.memory_bytes},
                    {"free_memory_bytes", found.free_memory_bytes},
                    {"disk_bytes", found.vector.disk_bytes},
                    {"fingerprint", found.vector.fingerprint}};
  if (found.vector.power_w) resources["power_w"] = *found.vector.power_w;
  return resources;
}

void PrintResources(const Json& resources) {
  std::printf(
      "\nMeasured\n  %.2f cores: %.1f GFLOP/s (32 bits), %.1f GB/s from memory\n  memory %s, %s "
      "free; "
      "disk %s free\n  %s\n",
      resources["cores"].get<double>(), resources["gflops"].get<double>(),
      resources["memory_gb_s"].get<double>(), BytesAt(resources, "memory_bytes").c_str(),
      BytesAt(resources, "free_memory_bytes").c_str(), BytesAt(resources, "disk_bytes").c_str(),
      resources["fingerprint"].get<std::string>().c_str());
  if (resources.contains("power_w"))
    std::printf("  power limit %.0f W\n", resources["power_w"].get<double>());
}

void Diagnose(Format format, bool bench) {
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
  Json document = {{"schema", "evenkeel.doctor/v1"}, {"ok", !failed}, {"checks", list}};
  const Json resources = bench ? MeasureResources() : Json();
  if (bench) document["resources"] = resources;
  Print(format, listing, document);
  const bool table = format == Format::kTable || format == Format::kWide;
  if (table && !fixes.empty()) std::printf("\nWhat to do\n%s", fixes.c_str());
  if (table && resources.is_object()) PrintResources(resources);
  if (failed) throw CLI::RuntimeError(kExitFailed);
}

}  // namespace

void RegisterDoctor(CLI::App& app) {
  CLI::App* doctor = app.add_subcommand("doctor", "Check whether this machine is ready to serve");
  doctor->footer(kExamples);
  auto format = std::make_shared<Format>(Format::kTable);
  AddOutputFlag(*doctor, format.get());
  auto bench = std::make_shared<bool>(false);
  doctor->add_flag("--bench", *bench, "Measure its speed too, and keep that for the cluster");
  doctor->callback([format, bench] { Diagnose(*format, *bench); });
}

}  // namespace evenkeel
