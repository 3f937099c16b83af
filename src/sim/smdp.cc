#include "sim/smdp.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace evenkeel::sim {
namespace {

constexpr int kMaxIterations = 20'000;
constexpr double kTolerance = 1e-3;
constexpr double kTail = 1e-9;  // of the Poisson distribution that is left out

struct Action {
  int rows = 0;        // 0: wait
  double seconds = 0;  // expected
  int first = 0;       // arrivals that pmf[0] stands for
  std::vector<double> pmf;
};

// Arrivals in `seconds`, without the tails.
void SetArrivals(double mean, Action* action) {
  action->first = std::max(0, static_cast<int>(mean - 7 * std::sqrt(mean) - 4));
  double sum = 0;
  for (int k = action->first;; ++k) {
    const double p = std::exp(k * std::log(mean) - mean - std::lgamma(k + 1.0));
    action->pmf.push_back(p);
    sum += p;
    if (k > mean && p < kTail) break;
  }
  for (double& p : action->pmf) p /= sum;
}

std::vector<Action> ActionsOf(const SmdpProblem& problem) {
  std::vector<Action> actions;
  Action wait{0, 1 / problem.rate_rps, 1, {1.0}};
  actions.push_back(wait);
  for (int b = 1; b <= problem.max_batch; ++b) {
    Action run{b, Seconds(problem.curve->Mean(b)), 0, {}};
    SetArrivals(problem.rate_rps * run.seconds, &run);
    actions.push_back(std::move(run));
  }
  return actions;
}

bool Allowed(int rows, int state, int max_batch) {
  if (rows == 0) return true;
  if (rows > state) return false;
  const bool power = (rows & (rows - 1)) == 0;
  return power || rows == max_batch || rows == state;
}

}  // namespace

SmdpPlan SolveSmdp(const SmdpProblem& problem) {
  EK_CHECK(problem.rate_rps > 0 && problem.max_batch >= 1 && problem.objective > Duration::zero());
  const auto actions = ActionsOf(problem);
  const double objective = Seconds(problem.objective);
  // Schweitzer: as if every action took `step` seconds, staying where it is with probability 1 - step / its time.
  double step = 1e300;
  for (const Action& action : actions) step = std::min(step, 0.9 * action.seconds);
  std::vector<double> value(kSmdpStates), next(kSmdpStates);
  SmdpPlan plan;
  plan.rows.resize(kSmdpStates);
  for (; plan.iterations < kMaxIterations; ++plan.iterations) {
    double low = 1e300, high = -1e300;
    for (int n = 0; n < kSmdpStates; ++n) {
      double best = 1e300;
      for (const Action& action : actions) {
        if (!Allowed(action.rows, n, problem.max_batch)) continue;
        if (action.rows == 0 && n == kSmdpStates - 1) continue;
        double after = 0;
        for (size_t k = 0; k < action.pmf.size(); ++k) {
          const int to = n - action.rows + action.first + static_cast<int>(k);
          after += action.pmf[k] * value[static_cast<size_t>(std::min(to, kSmdpStates - 1))];
        }
        const double t = action.seconds;
        // Rows in the system over the action: n at first, lambda more a second while a batch runs.
        const double rows = action.rows == 0 ? n * t : n * t + problem.rate_rps * t * t / 2;
        const double cost =
            rows / objective + (action.rows == 0 ? 0 : problem.price * problem.threads * t);
        const double stay = value[static_cast<size_t>(n)];
        const double total = step / t * (cost + after) + (1 - step / t) * stay;
        if (total < best - 1e-15) {
          best = total;
          plan.rows[static_cast<size_t>(n)] = action.rows;
        }
      }
      next[static_cast<size_t>(n)] = best;
      // The bounds of states that are hardly ever reached converge last and matter least.
      if (n > kSmdpStates / 2) continue;
      low = std::min(low, best - value[static_cast<size_t>(n)]);
      high = std::max(high, best - value[static_cast<size_t>(n)]);
    }
    const double base = next[0];
    for (int n = 0; n < kSmdpStates; ++n)
      value[static_cast<size_t>(n)] = next[static_cast<size_t>(n)] - base;
    plan.cost = (low + high) / 2 / step / problem.rate_rps;
    if (high - low <= kTolerance * high) break;
  }
  return plan;
}

namespace {

class Smdp final : public policy::NodePolicy {
 public:
  explicit Smdp(SmdpPlan plan) : plan_(std::move(plan)) {}
  policy::Decision Decide(const policy::NodeView& node, Time) override {
    policy::Decision decision;
    const policy::ModelView& model = node.models.front();
    const policy::LaneView& lane = model.lanes.front();
    if (model.instances.front().in_flight > 0 || lane.waiting_rows == 0) return decision;
    const auto state = std::min<int64_t>(lane.waiting_rows, kSmdpStates - 1);
    decision.rows = std::min<int64_t>(plan_.rows[static_cast<size_t>(state)], lane.max_rows);
    decision.start = decision.rows > 0;
    decision.reason = CloseReason::kWorth;
    return decision;
  }
  std::string_view name() const override { return "smdp"; }

 private:
  SmdpPlan plan_;
};

}  // namespace

std::unique_ptr<policy::NodePolicy> MakeSmdp(SmdpPlan plan) {
  return std::make_unique<Smdp>(std::move(plan));
}

}  // namespace evenkeel::sim
