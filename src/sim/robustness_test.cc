// What the policies do when the traffic is not as they expect: forecasts that are wrong, bursts that stop, rates that step.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "batching/policy/auto_policy.h"
#include "batching/policy/method_policy.h"
#include "core/format.h"
#include "sim/simulation.h"

namespace evenkeel::sim {
namespace {

using namespace std::chrono_literals;

// `auto` that is told a multiple of the forecast.
class WrongForecast final : public policy::AutoPolicy {
 public:
  explicit WrongForecast(double factor) : factor_(factor) {}

 protected:
  double RateOf(const policy::ModelView& model, Time now) const override {
    return factor_ * policy::AutoPolicy::RateOf(model, now);
  }
  double HoldRate(const policy::ModelView& model, const State& state, Time now) const override {
    return factor_ * policy::AutoPolicy::HoldRate(model, state, now);
  }

 private:
  double factor_;
};

// The same of `method`.
class WrongMethod final : public policy::MethodPolicy {
 public:
  explicit WrongMethod(double factor) : factor_(factor) {}

 protected:
  double ForecastOf(const policy::ModelView& model) const override {
    return factor_ * policy::MethodPolicy::ForecastOf(model);
  }

 private:
  double factor_;
};

// T(n) = a + c n.
SimModel Model(std::string name, const std::string& spec, Duration a, Duration c,
               Duration objective, const std::string& file = "") {
  SimModel model;
  model.name = std::move(name);
  policy::BatchCurve curve;
  for (int n = 1; n <= 64; n *= 2) curve.Set(n, a + n * c, (a + n * c) * 23 / 20);
  model.service = ServiceTimes(curve, true);
  model.arrivals =
      ParseArrivals(spec, [&](const std::string&) { return Result<std::string>(file); }).value();
  model.objective = objective;
  return model;
}

// Three models share two cores: what `auto` holds back, it holds back here.
std::vector<SimModel> Mix(double load) {
  const auto rate = [load](double rps) { return fmt::format("poisson:{}", load * rps); };
  return {Model("steep", rate(4000), 140us, 13us, 20ms),
          Model("half", rate(800), 300us, 120us, 50ms),
          Model("flat", rate(120), 0us, 3700us, 100ms)};
}

std::string Outcome(const ModelOutcome& m) {
  return fmt::format("{}: {} of {} within, {} late, {} refused, {} expired, {} longest", m.name,
                     m.within, m.arrived, m.late, m.shed, m.expired, m.latency.QuantileSeconds(1));
}

double Share(const SimReport& report, uint64_t ModelOutcome::*outcome) {
  uint64_t arrived = 0, counted = 0;
  for (const ModelOutcome& model : report.models) {
    arrived += model.arrived;
    counted += model.*outcome;
  }
  return static_cast<double>(counted) / static_cast<double>(arrived);
}

Duration Longest(const ModelOutcome& model) {
  return Duration(static_cast<int64_t>(model.latency.QuantileSeconds(1) * 1e9));
}

class ForecastOff : public testing::TestWithParam<double> {};

// A wrong forecast costs efficiency, not deadlines (A10).
TEST_P(ForecastOff, DeadlinesHold) {
  for (const bool save_power : {false, true}) {
    for (const double load : {0.3, 0.7}) {
      SimOptions options;
      options.length = 20s;
      options.deadlines = true;
      options.save_power = save_power;
      WrongForecast right(1), wrong(GetParam());
      const SimReport as_is = Simulate(Mix(load), right, options);
      const SimReport off = Simulate(Mix(load), wrong, options);
      const std::string where = fmt::format("x {}, load {}, save {}", GetParam(), load, save_power);
      EXPECT_GE(Share(off, &ModelOutcome::within), Share(as_is, &ModelOutcome::within) - 0.005)
          << where;
      EXPECT_LE(Share(off, &ModelOutcome::late), 0.005) << where;
      EXPECT_LE(Share(off, &ModelOutcome::expired), 0.005) << where;
      // What is held looks like a queue that is not served: where deadlines are short and waits long, some are refused for it.
      for (const ModelOutcome& model : off.models)
        EXPECT_GE(model.Goodput(), 0.95) << where << ", " << Outcome(model);
    }
  }
}

// `method` has no gate: at the loads of the mix its batches share the cores with others, whatever the forecast.
TEST_P(ForecastOff, DeadlinesHoldUnderTheMethodToo) {
  for (const double load : {0.3, 0.7}) {
    SimOptions options;
    options.length = 20s;
    options.deadlines = true;
    WrongMethod right(1), wrong(GetParam());
    const SimReport as_is = Simulate(Mix(load), right, options);
    const SimReport off = Simulate(Mix(load), wrong, options);
    const std::string where = fmt::format("x {}, load {}", GetParam(), load);
    EXPECT_GE(Share(off, &ModelOutcome::within), Share(as_is, &ModelOutcome::within) - 0.005)
        << where;
    EXPECT_LE(Share(off, &ModelOutcome::late), 0.005) << where;
    EXPECT_LE(Share(off, &ModelOutcome::expired), 0.005) << where;
    for (const ModelOutcome& model : off.models)
      EXPECT_GE(model.Goodput(), 0.95) << where << ", " << Outcome(model);
  }
}

// T(64) is 12.4 ms, and so is the interval; a batch of what comes in one takes 6 to 7. A row that came early in an interval cannot wait for
// its end.
TEST(MethodTest, IntervalsAsLongAsTheObjectiveCostNoObjective) {
  for (const double factor : {0.01, 1.0, 100.0}) {
    SimModel model = Model("long", "poisson:400", 6ms, 100us, 16ms);
    model.best_batch = 64;
    SimOptions options;
    options.length = 20s;
    WrongMethod policy(factor);
    const ModelOutcome out = Simulate({model}, policy, options).models[0];
    EXPECT_GE(out.Goodput(), 0.97) << factor << ", " << Outcome(out);
  }
}

INSTANTIATE_TEST_SUITE_P(EitherWay, ForecastOff, testing::Values(0.01, 0.1, 10.0, 100.0),
                         [](const auto& one) {
                           return fmt::format("By{}Percent", static_cast<int>(one.param * 100));
                         });

// Without deadlines the objective is what a hold must not pass.
TEST(ForecastOff, ObjectivesHoldWithoutDeadlinesToo) {
  for (const double factor : {0.01, 100.0}) {
    SimOptions options;
    options.length = 20s;
    options.save_power = true;
    WrongForecast wrong(factor);
    for (const ModelOutcome& model : Simulate(Mix(0.5), wrong, options).models)
      EXPECT_GE(model.Goodput(), 0.985) << factor << ", " << Outcome(model);
  }
}

// It must cost something, or the test above says nothing: the forecasts were really believed.
TEST(ForecastOff, CostsEfficiency) {
  SimOptions options;
  options.length = 20s;
  options.save_power = true;
  WrongForecast right(1), low(0.01);
  const auto core_seconds = [&](WrongForecast& policy) {
    return Simulate(Mix(0.5), policy, options).models[0].core_seconds;
  };
  EXPECT_GT(core_seconds(low), 1.1 * core_seconds(right));
}

// 2,000 a second for 300 ms, then nothing for 700 ms, again and again: at each end rows are being held for others that never come.
std::string Bursts(int bursts, int rows, Duration gap) {
  std::string text = "t_s\n";
  for (int b = 0; b < bursts; ++b) {
    for (int i = 0; i < rows; ++i) text += fmt::format("{:.6f}\n", b + i * Seconds(gap));
  }
  return text;
}

TEST(BurstTest, OneThatStopsInMidHoldIsAnsweredWithinTheObjective) {
  const std::string bursts = Bursts(20, 600, 500us);
  for (const std::string_view name : {"auto", "method", "gated-greedy"}) {
    for (const bool save_power : {false, true}) {
      SimOptions options;
      options.length = 21s;
      options.warm_up = 0s;
      options.save_power = save_power;
      auto policy = std::move(policy::MakeNodePolicy(name)).value();
      const SimReport report = Simulate({Model("steep", "trace:bursts", 140us, 13us, 20ms, bursts),
                                         Model("other", "poisson:700", 100us, 400us, 50ms),
                                         Model("third", "poisson:700", 100us, 400us, 50ms)},
                                        *policy, options);
      const ModelOutcome& steep = report.models[0];
      EXPECT_EQ(steep.arrived, 20u * 600u);
      EXPECT_GE(steep.Goodput(), 0.998) << name << " save " << save_power;
      EXPECT_LE(Longest(steep), 30ms) << name << " save " << save_power;
    }
  }
}

// Nothing else runs, so nothing but a hold can make the last rows of a burst wait.
TEST(BurstTest, TheLastRowsOfABurstDoNotWaitForTheObjective) {
  SimOptions options;
  options.length = 21s;
  options.warm_up = 2s;
  options.save_power = true;
  auto policy = std::move(policy::MakeNodePolicy("auto")).value();
  const SimReport report =
      Simulate({Model("steep", "trace:bursts", 140us, 13us, 200ms, Bursts(20, 600, 500us))},
               *policy, options);
  EXPECT_EQ(report.models[0].late, 0u);
  EXPECT_LE(Longest(report.models[0]), 200ms);
  // Three mean gaps of silence end a hold: far from the 200 ms that a hold may last.
  EXPECT_LE(report.models[0].latency.QuantileSeconds(0.5), 0.1);
}

TEST(StepTest, OneToAThousandToOneASecond) {
  for (const std::string_view name : {"auto", "method", "gated-greedy", "none"}) {
    for (const bool save_power : {false, true}) {
      for (const bool deadlines : {false, true}) {
        SimOptions options;
        options.length = 45s;
        options.warm_up = 0s;
        options.save_power = save_power;
        options.deadlines = deadlines;
        auto policy = std::move(policy::MakeNodePolicy(name)).value();
        const SimReport report =
            Simulate({Model("steep", "steps:1@15/1000@15/1@15", 140us, 13us, 20ms),
                      Model("flat", "steps:1@15/150@15/1@15", 0us, 3700us, 100ms),
                      Model("half", "poisson:1", 300us, 120us, 50ms)},
                     *policy, options);
        for (const ModelOutcome& model : report.models) {
          const std::string where = fmt::format("{}, save {}, deadlines {}, {}", name, save_power,
                                                deadlines, Outcome(model));
          EXPECT_GE(model.Goodput(), 0.99) << where;
          EXPECT_EQ(model.shed, 0u) << where;
          EXPECT_LE(Longest(model), 2 * model.objective) << where;
        }
      }
    }
  }
}

// At one a second nobody comes to share a batch: what is not to save power waits for nobody.
TEST(StepTest, AfterTheStepDownARowIsRunAtOnce) {
  std::string trace = "t_s\n";
  for (int i = 0; i < 10'000; ++i) trace += fmt::format("{:.6f}\n", i * 1e-3);
  for (int i = 0; i < 60; ++i) trace += fmt::format("{:.6f}\n", 11.0 + i);
  SimOptions options;
  options.length = 75s;
  options.warm_up = 13s;  // only what comes after the step is counted
  auto policy = std::move(policy::MakeNodePolicy("auto")).value();
  const SimReport report =
      Simulate({Model("steep", "trace:step", 140us, 13us, 20ms, trace)}, *policy, options);
  EXPECT_GE(report.models[0].arrived, 55u);
  EXPECT_LE(Longest(report.models[0]), 1ms);
}

}  // namespace
}  // namespace evenkeel::sim
