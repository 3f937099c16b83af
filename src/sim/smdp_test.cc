// The optimum against slow and obvious computations: every policy's exact mean cost by solving its equations, policies improved until
// none is better, and threshold policies, in equations and in simulation.
#include "sim/smdp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "core/format.h"
#include "sim/simulation.h"

namespace evenkeel::sim {
namespace {

using namespace std::chrono_literals;

// Small enough to solve by elimination; at the loads here no more than a part in a million of the time is spent beyond.
constexpr int kStates = 64;

struct Problem {
  Duration fixed, per_row;
  int max_batch;
  double load;  // of the best throughput
  double price;
  Duration objective = 50ms;
  int threads = 1;

  double Seconds(int rows) const { return evenkeel::Seconds(fixed + rows * per_row); }
  double rate_rps() const { return load * max_batch / Seconds(max_batch); }
};

std::string ToString(const Problem& p) {
  return fmt::format("T = {} + n {} us, B {}, load {}, price {}", p.fixed / 1us, p.per_row / 1us,
                     p.max_batch, p.load, p.price);
}

policy::BatchCurve CurveOf(const Problem& p) {
  policy::BatchCurve curve;
  for (int n = 1; n <= p.max_batch; ++n)
    curve.Set(n, p.fixed + n * p.per_row, p.fixed + n * p.per_row);
  return curve;
}

SmdpPlan Solve(const Problem& p) {
  const policy::BatchCurve curve = CurveOf(p);
  return SolveSmdp({&curve, p.max_batch, p.threads, p.rate_rps(), p.objective, p.price});
}

// What one action does to the state: time, cost, and where it leads.
struct Step {
  double seconds = 0, cost = 0;
  std::vector<double> to = std::vector<double>(kStates);
};

// 0: wait for one arrival. Cost: rows in the system over the objective, and core time at its price.
Step StepOf(const Problem& p, int state, int rows) {
  const double rate = p.rate_rps(), objective = evenkeel::Seconds(p.objective);
  Step step;
  if (rows == 0) {
    step.seconds = 1 / rate;
    step.cost = state * step.seconds / objective;
    step.to[static_cast<size_t>(std::min(state + 1, kStates - 1))] = 1;
    return step;
  }
  const double t = p.Seconds(rows);
  step.seconds = t;
  step.cost = (state * t + rate * t * t / 2) / objective + p.price * p.threads * t;
  double arrivals = std::exp(-rate * t), left = 1;  // Poisson, one after the other
  for (int k = 0; state - rows + k < kStates - 1; ++k) {
    step.to[static_cast<size_t>(state - rows + k)] = arrivals;
    left -= arrivals;
    arrivals *= rate * t / (k + 1);
  }
  step.to[kStates - 1] += left;
  return step;
}

// Gauss and Jordan.
std::vector<double> SolveLinear(std::vector<std::vector<double>> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t row = column; row < n; ++row) {
      if (std::abs(a[row][column]) > std::abs(a[pivot][column])) pivot = row;
    }
    std::swap(a[pivot], a[column]);
    std::swap(b[pivot], b[column]);
    for (size_t row = 0; row < n; ++row) {
      if (row == column) continue;
      const double factor = a[row][column] / a[column][column];
      for (size_t k = column; k < n; ++k) a[row][k] -= factor * a[column][k];
      b[row] -= factor * b[column];
    }
  }
  for (size_t row = 0; row < n; ++row) b[row] /= a[row][row];
  return b;
}

using Policy = std::vector<int>;  // rows to run, by state

// Mean cost a second g and the states' values h: h(n) + g t(n) = c(n) + sum of P h, with h(0) = 0. h[0] of the answer is g.
std::vector<double> Evaluate(const Problem& p, const Policy& policy) {
  std::vector<std::vector<double>> a(kStates, std::vector<double>(kStates));
  std::vector<double> b(kStates);
  for (int n = 0; n < kStates; ++n) {
    const Step step = StepOf(p, n, policy[static_cast<size_t>(n)]);
    auto& row = a[static_cast<size_t>(n)];
    row[static_cast<size_t>(n)] += 1;
    for (size_t to = 0; to < kStates; ++to) row[to] -= step.to[to];
    row[0] = step.seconds;  // h(0) is 0: its column is that of g
    b[static_cast<size_t>(n)] = step.cost;
  }
  return SolveLinear(std::move(a), std::move(b));
}

double CostPerRow(const Problem& p, const Policy& policy) {
  return Evaluate(p, policy)[0] / p.rate_rps();
}

// As smdp.h has them.
std::vector<int> ActionsIn(const Problem& p, int state) {
  std::vector<int> actions;
  if (state < kStates - 1) actions.push_back(0);
  for (int b = 1; b <= std::min(state, p.max_batch); ++b) {
    if ((b & (b - 1)) == 0 || b == p.max_batch || b == state) actions.push_back(b);
  }
  return actions;
}

// Runs what there is, at most a full batch, as soon as `least` rows wait.
Policy Threshold(const Problem& p, int least) {
  Policy policy(kStates);
  for (int n = least; n < kStates; ++n) policy[static_cast<size_t>(n)] = std::min(n, p.max_batch);
  return policy;
}

// Howard's improvement: no policy's cost is lower than that of the one that it ends with.
Policy Improved(const Problem& p) {
  Policy policy = Threshold(p, 1);
  for (;;) {
    std::vector<double> h = Evaluate(p, policy);
    const double gain = h[0];
    h[0] = 0;
    Policy next = policy;
    for (int n = 0; n < kStates; ++n) {
      const auto value = [&](int action) {
        const Step step = StepOf(p, n, action);
        double sum = step.cost - gain * step.seconds;
        for (size_t to = 0; to < kStates; ++to) sum += step.to[to] * h[to];
        return sum;
      };
      double best = value(next[static_cast<size_t>(n)]) - 1e-12;
      for (const int action : ActionsIn(p, n)) {
        if (value(action) >= best) continue;
        best = value(action) - 1e-12;
        next[static_cast<size_t>(n)] = action;
      }
    }
    if (next == policy) return policy;
    policy = next;
  }
}

Policy Cut(const SmdpPlan& plan) { return {plan.rows.begin(), plan.rows.begin() + kStates}; }

std::vector<Problem> Problems() {
  std::vector<Problem> all;
  for (const double load : {0.1, 0.4, 0.7}) {
    for (const double price : {0.0, 20.0, 400.0}) {
      all.push_back({1ms, 200us, 8, load, price});  // gains much
      all.push_back({50us, 1ms, 6, load, price});   // gains little
    }
  }
  return all;
}

TEST(SmdpTest, CostsWhatImprovingPoliciesEndsWith) {
  for (const Problem& p : Problems()) {
    const SmdpPlan plan = Solve(p);
    const double least = CostPerRow(p, Improved(p));
    EXPECT_NEAR(plan.cost, least, 0.002 * least) << ToString(p);
    // What it says it costs is what its decisions cost.
    EXPECT_NEAR(CostPerRow(p, Cut(plan)), least, 0.002 * least) << ToString(p);
  }
}

TEST(SmdpTest, NoThresholdCostsLess) {
  int waits = 0;
  for (const Problem& p : Problems()) {
    const double cost = CostPerRow(p, Cut(Solve(p)));
    int best = 1;
    for (int least = 1; least <= p.max_batch; ++least) {
      const double other = CostPerRow(p, Threshold(p, least));
      EXPECT_LE(cost, 1.001 * other) << ToString(p) << ", threshold " << least;
      if (other < CostPerRow(p, Threshold(p, best))) best = least;
    }
    waits += best > 1;
  }
  EXPECT_GE(waits, 4);  // else there was nothing to weigh
}

TEST(SmdpTest, WaitsOnlyWhereCoreTimeHasAPrice) {
  const SmdpPlan at_once = Solve({1ms, 200us, 8, 0.4, 0});
  const SmdpPlan dear = Solve({1ms, 200us, 8, 0.4, 400});
  EXPECT_EQ(at_once.rows[1], 1);
  EXPECT_EQ(dear.rows[1], 0);
  EXPECT_EQ(dear.rows[20], 8);
}

class ThresholdPolicy final : public policy::NodePolicy {
 public:
  explicit ThresholdPolicy(int least) : least_(least) {}
  policy::Decision Decide(const policy::NodeView& node, Time) override {
    policy::Decision decision;
    const policy::ModelView& model = node.models.front();
    const policy::LaneView& lane = model.lanes.front();
    if (model.instances.front().in_flight > 0 || lane.waiting_rows < least_) return decision;
    decision.start = true;
    decision.rows = std::min<int64_t>(lane.waiting_rows, lane.max_rows);
    return decision;
  }
  std::string_view name() const override { return "threshold"; }

 private:
  int least_;
};

// As in the equations, by what the simulation counts.
double SimulatedCost(const Problem& p, policy::NodePolicy& policy) {
  SimModel model;
  model.name = "m";
  model.service = ServiceTimes(CurveOf(p), /*noise=*/false);
  model.arrivals = ParseArrivals(fmt::format("poisson:{}", p.rate_rps()), {}).value();
  model.objective = p.objective;
  model.max_batch = p.max_batch;
  SimOptions options;
  options.cores = 1;
  options.length = Duration(static_cast<int64_t>(100'000 / p.rate_rps() * 1e9));
  options.warm_up = 1s;
  const ModelOutcome out = Simulate({model}, policy, options).models.front();
  return out.latency.mean_s() / evenkeel::Seconds(p.objective) +
         p.price * out.core_seconds / static_cast<double>(out.rows_run);
}

TEST(SmdpTest, NoThresholdBeatsItInSimulation) {
  for (const Problem& p : Problems()) {
    const SmdpPlan plan = Solve(p);
    const auto optimum = MakeSmdp(plan);
    const double cost = SimulatedCost(p, *optimum);
    EXPECT_NEAR(cost, plan.cost, 0.03 * plan.cost) << ToString(p);
    for (int least = 1; least <= p.max_batch; ++least) {
      ThresholdPolicy threshold(least);
      EXPECT_LE(cost, 1.01 * SimulatedCost(p, threshold)) << ToString(p) << ", least " << least;
    }
  }
}

}  // namespace
}  // namespace evenkeel::sim
