// The checks of `evenkeel doctor` on how workers can be isolated here.
#include "containers/runtime.h"

#include "core/format.h"
#include "doctor_checks.h"

namespace evenkeel {
namespace {

const char* WhatItIs(Rung rung) {
  switch (rung) {
    case Rung::kNone: return "works: child processes without any isolation, for debuggers";
    case Rung::kProcess: return "works: processes with little inherited and no new privileges";
    case Rung::kCgroup: return "works: memory, cores and threads of a worker can be limited";
    case Rung::kOci: return "works: containers without network, with a read-only root";
  }
  return "";
}

}  // namespace

std::vector<Check> CheckRuntimes(const Settings& settings, const std::string& libexec) {
  const std::string& chosen = settings.text("runtime");
  std::vector<Check> checks;
  std::string_view highest;
  bool chosen_works = chosen == "auto";
  for (const RungReport& report : ProbeRungs(libexec)) {
    const std::string name = fmt::format("runtime {}", NameOf(report.rung));
    if (report.works) {
      highest = NameOf(report.rung);
      chosen_works = chosen_works || chosen == highest;
      checks.push_back({name, Verdict::kPass, WhatItIs(report.rung), {}});
    } else {
      const bool wanted = chosen == NameOf(report.rung);
      checks.push_back({name, wanted ? Verdict::kFail : Verdict::kWarn, report.why, report.fix});
    }
  }
  Check summary{"container runtime",
                Verdict::kPass,
                fmt::format("'{}' is set; the most that works here is '{}'", chosen, highest),
                {}};
  if (!chosen_works) {
    summary.verdict = Verdict::kFail;
    summary.fix =
        fmt::format("{} {}, or see the check 'runtime {}'", FlagName("runtime"), highest, chosen);
  }
  checks.insert(checks.begin(), std::move(summary));
  return checks;
}

}  // namespace evenkeel
