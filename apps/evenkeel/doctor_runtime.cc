// The checks of `evenkeel doctor` on how workers can be isolated here.
#include "containers/runtime.h"

#include "core/format.h"
#include "doctor_checks.h"

namespace evenkeel {

std::vector<Check> CheckRuntimes(const Settings& settings, const std::string& libexec) {
  const std::string& chosen = settings.text("runtime");
  const auto reports = ProbeRungs(libexec);
  const AutoRungs rungs = RungsForAuto(reports);
  const std::string_view highest = NameOf(rungs.order.front());
  std::vector<Check> checks;
  bool chosen_works = chosen == "auto";
  for (const RungReport& report : reports) {
    const std::string name = fmt::format("runtime {}", NameOf(report.rung));
    if (report.works) {
      chosen_works = chosen_works || chosen == NameOf(report.rung);
      checks.push_back(
          {name, Verdict::kPass, fmt::format("works: {}", DescriptionOf(report.rung)), {}});
    } else {
      const bool wanted = chosen == NameOf(report.rung);
      checks.push_back({name, wanted ? Verdict::kFail : Verdict::kWarn, report.why, report.fix});
    }
  }
  std::string found =
      fmt::format("'{}' is set; 'auto' takes '{}' here, if it starts something", chosen, highest);
  if (!rungs.left_out.empty()) found += "; " + rungs.left_out;
  Check summary{"container runtime", Verdict::kPass, std::move(found), {}};
  if (!chosen_works) {
    summary.verdict = Verdict::kFail;
    summary.fix =
        fmt::format("{} {}, or see the check 'runtime {}'", FlagName("runtime"), highest, chosen);
  }
  checks.insert(checks.begin(), std::move(summary));
  return checks;
}

}  // namespace evenkeel
