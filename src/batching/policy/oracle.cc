// `oracle`: `auto` that knows the arrivals to come. For simulation: what a perfect forecast would be worth.
//
// Rate: from the arrivals that are known to come. Hold: with w rows waiting and the next ones at t_1 <= t_2 ..., it waits for the
// m-th that minimises the cost of the header of target.h with the waits as they will be,
//   p K T(w + m)/(w + m) + (w (t_m - now) + sum over j <= m of (t_m - t_j)) / ((w + m) O),
// among those m (0: start now) whose t_m leaves the oldest row its slack.
#include <algorithm>

#include "batching/policy/auto_policy.h"
#include "batching/policy/hold.h"
#include "batching/policy/policies.h"

namespace evenkeel::policy {
namespace {

class Oracle final : public AutoPolicy {
 public:
  std::string_view name() const override { return "oracle"; }

 protected:
  double RateOf(const ModelView& model, Time now) const override {
    if (model.later_arrivals.empty()) return 0;
    const Duration span = model.later_arrivals.back() - now;
    if (span <= Duration::zero()) return AutoPolicy::RateOf(model, now);
    const int rows = model.lanes.empty() ? 1 : model.lanes.front().head_rows;
    return rows * static_cast<double>(model.later_arrivals.size()) / Seconds(span);
  }

  Time HeldUntil(const ModelView& model, const State& state, const LaneView& lane,
                 Time now) const override {
    const double objective = Seconds(model.objective);
    const int threads = CpuThreads(model);
    const Time deadline = SoftDeadline(lane, model.objective);
    const auto cost = [&](int64_t rows, double waits_s) {
      const double t = Seconds(model.curve->Mean(static_cast<int>(rows)));
      return (price() * threads * t + waits_s / objective) / static_cast<double>(rows);
    };
    double least = cost(lane.waiting_rows, 0);
    Time best = now;
    double waits_s = 0;
    Time last = now;
    int64_t rows = lane.waiting_rows;
    for (const Time at : model.later_arrivals) {
      if (rows + lane.head_rows > state.knee) break;
      const int next = static_cast<int>(rows + lane.head_rows);
      if (at > deadline - model.curve->P99(next) - state.core_wait) break;
      waits_s += static_cast<double>(rows) * Seconds(at - last);
      rows = next;
      last = at;
      if (const double here = cost(rows, waits_s); here < least) {
        least = here;
        best = at;
      }
    }
    return best;
  }
};

}  // namespace

std::unique_ptr<NodePolicy> MakeOracle() { return std::make_unique<Oracle>(); }

}  // namespace evenkeel::policy
