#include "sim/goodput.h"

#include <algorithm>
#include <cmath>

namespace evenkeel::sim {

GoodputResult FindGoodput(const std::vector<SimModel>& models, const FreshPolicy& fresh,
                          SimOptions options, const GoodputSearch& search) {
  GoodputResult result;
  const auto kept = [&](double factor) {
    options.factor = factor;
    const auto policy = fresh();
    SimReport report = Simulate(models, *policy, options);
    ++result.runs;
    const bool all = std::ranges::all_of(
        report.models, [&](const ModelOutcome& m) { return m.Goodput() >= search.share; });
    if (all && factor > result.factor) {
      result.factor = factor;
      result.report = std::move(report);
    }
    return all;
  };
  // Doubling up from below, so that no run is far into overload.
  double low = search.least, high = search.least;
  if (!kept(low)) return result;
  while (high < search.most) {
    high = std::min(search.most, 2 * high);
    if (!kept(high)) break;
    low = high;
  }
  while (high > low * (1 + search.tolerance)) {
    const double middle = std::sqrt(low * high);
    (kept(middle) ? low : high) = middle;
  }
  return result;
}

}  // namespace evenkeel::sim
