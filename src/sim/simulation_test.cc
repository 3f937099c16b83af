#include "sim/simulation.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "sim/goodput.h"
#include "sim/report.h"

namespace evenkeel::sim {
namespace {

using namespace std::chrono_literals;

// T(n) = a + c n, without scatter.
SimModel Model(const std::string& spec, Duration a, Duration c, Duration objective = 50ms) {
  SimModel model;
  model.name = "m";
  policy::BatchCurve curve;
  for (int n = 1; n <= 64; n *= 2) curve.Set(n, a + n * c, a + n * c);
  model.service = ServiceTimes(curve, false);
  model.arrivals =
      *ParseArrivals(spec, [](const std::string&) { return Result<std::string>(std::string()); });
  model.objective = objective;
  return model;
}

SimReport RunPolicy(const std::vector<SimModel>& models, std::string_view policy,
                    const SimOptions& options = {}) {
  auto chosen = policy::MakeNodePolicy(policy);
  return Simulate(models, **chosen, options);
}

uint64_t Outcomes(const ModelOutcome& m) { return m.within + m.late + m.shed + m.expired; }

// M/D/1: the mean wait is rho T / (2 (1 - rho)) (Pollaczek and Khinchine).
TEST(SimulationTest, OneByOneServiceWaitsAsTheFormulaSays) {
  SimOptions options;
  options.length = 400s;
  const SimReport report = RunPolicy({Model("poisson:700", 0ns, 1ms)}, "none", options);
  const double expected = 0.7 * 1e-3 / (2 * 0.3);
  EXPECT_NEAR(report.models[0].wait.mean_s(), expected, 0.05 * expected);
  EXPECT_NEAR(report.mean_cores, 0.7, 0.01);
}

// Two instances at will on one core: each of two batches that overlap takes twice as long.
TEST(SimulationTest, MoreThreadsThanCoresShareThem) {
  SimOptions options;
  options.cores = 1;
  options.warm_up = 0ns;
  options.length = 20ms;
  std::vector<SimModel> models{Model("constant:100", 0ns, 8ms), Model("constant:100", 0ns, 8ms)};
  models[1].name = "n";
  const SimReport shared = RunPolicy(models, "none", options);
  options.cores = 2;
  const SimReport apart = RunPolicy(models, "none", options);
  EXPECT_NEAR(apart.models[0].latency.QuantileSeconds(0.5), 8e-3, 1e-4);
  EXPECT_GT(shared.models[0].latency.mean_s() + shared.models[1].latency.mean_s(), 20e-3);
}

TEST(SimulationTest, TheSameSeedGivesTheSameReport) {
  std::vector<SimModel> models{Model("poisson:3000", 200us, 20us),
                               Model("gamma:300,cv=3", 1ms, 300us)};
  models[1].name = "n";
  for (const std::string_view policy : policy::NodePolicyNames()) {
    SimOptions options;
    options.length = 4s;
    const auto once = ToJson(RunPolicy(models, policy, options));
    EXPECT_EQ(once.dump(), ToJson(RunPolicy(models, policy, options)).dump()) << policy;
    options.seed = 2;
    EXPECT_NE(once.dump(), ToJson(RunPolicy(models, policy, options)).dump()) << policy;
  }
}

RC_GTEST_PROP(SimulationProperty, EveryRequestHasOneOutcome, ()) {
  std::vector<SimModel> models;
  for (int i = *rc::gen::inRange(1, 4); i > 0; --i) {
    models.push_back(
        Model(fmt::format("gamma:{},cv={}", *rc::gen::inRange(1, 3000), *rc::gen::inRange(1, 5)),
              *rc::gen::inRange(1, 2000) * 1us, *rc::gen::inRange(1, 2000) * 1us,
              *rc::gen::inRange(3, 100) * 1ms));
    models.back().name = fmt::format("m{}", i);
    models.back().instances = *rc::gen::inRange(1, 3);
    models.back().rows = *rc::gen::inRange(1, 4);
  }
  SimOptions options;
  options.length = 1s;
  options.warm_up = 100ms;
  options.cores = *rc::gen::inRange(1, 4);
  options.deadlines = *rc::gen::arbitrary<bool>();
  options.seed = *rc::gen::arbitrary<uint64_t>();
  options.max_queue_rows = 500;
  for (const std::string_view policy : policy::NodePolicyNames()) {
    const SimReport report = RunPolicy(models, policy, options);
    RC_ASSERT(report.mean_cores <= options.cores + 1e-9);
    for (const ModelOutcome& m : report.models) {
      RC_ASSERT(Outcomes(m) == m.arrived);
      RC_ASSERT(m.latency.total() == m.within + m.late);
    }
  }
}

TEST(SimulationTest, DeadlinesAreRefusedOrLeftRatherThanServedLate) {
  SimOptions options;
  options.deadlines = true;
  options.length = 5s;
  // Three times what one instance can do.
  const SimReport report = RunPolicy({Model("poisson:3000", 100us, 900us)}, "auto", options);
  const ModelOutcome& m = report.models[0];
  EXPECT_GT(m.shed + m.expired, m.arrived / 2);
  EXPECT_LT(m.late, m.arrived / 50);
  EXPECT_GT(m.within, m.arrived / 4);  // a third could be
}

// One that gains much by batching, one that gains some, one that gains nothing: at twice what the node can do each keeps what it
// had just before, instead of the last one giving way to those whose batches run oftener.
TEST(SimulationTest, AtTwiceTheLoadEachModelKeepsItsShare) {
  std::vector<SimModel> models{Model("poisson:9000", 260us, 23us, 20ms),
                               Model("poisson:2000", 400us, 230us, 50ms),
                               Model("poisson:160", 0ns, 3700us, 100ms)};
  models[1].name = "n";
  models[2].name = "o";
  SimOptions options;
  options.length = 20s;
  options.warm_up = 4s;
  options.deadlines = true;
  const SimReport once = RunPolicy(models, "auto", options);
  options.factor = 2.2;
  const SimReport twice = RunPolicy(models, "auto", options);
  for (size_t i = 0; i < models.size(); ++i) {
    const double before = static_cast<double>(once.models[i].within);
    EXPECT_GT(once.models[i].Goodput(), 0.99) << models[i].name;
    EXPECT_GT(static_cast<double>(twice.models[i].within), 0.95 * before) << models[i].name;
  }
}

// A share of a quarter of a core is small, and yet a share: of rows that are due in four times a whole batch's time, those that it can
// serve are accepted. Large batches in a turn of four times their own time would all come too late.
TEST(SimulationTest, AModelThatCanCountOnLittleServesThatLittle) {
  std::vector<SimModel> models;
  for (int i = 0; i < 6; ++i) {
    models.push_back(Model("poisson:16000", 260us, 23us, 20ms));
    models.back().name = "m" + std::to_string(i);
    models.back().max_batch = 256;
  }
  SimOptions options;
  options.cores = 1;
  options.length = 10s;
  options.warm_up = 2s;
  options.deadlines = true;
  const SimReport report = RunPolicy(models, "auto", options);
  uint64_t within = 0;
  for (const ModelOutcome& m : report.models) within += m.within;
  // A core gives 1 s / (260 us / n + 23 us) rows a second, n being at least ten or so here.
  EXPECT_GT(static_cast<double>(within) / 8, 0.6 / 23e-6);
  for (const ModelOutcome& m : report.models) {
    EXPECT_GT(static_cast<double>(m.within), 0.7 * static_cast<double>(within) / 6) << m.name;
  }
}

// A flood of one model takes what the others leave, not what they use.
TEST(SimulationTest, AFloodOfOneModelDoesNotDrownTheOthers) {
  std::vector<SimModel> models{Model("steps:300@20/3000@10", 200us, 900us, 50ms),
                               Model("poisson:150", 0ns, 3700us, 100ms)};
  models[1].name = "steady";
  SimOptions options;
  options.cores = 1;
  options.length = 30s;
  options.deadlines = true;
  const SimReport report = RunPolicy(models, "auto", options);
  EXPECT_GT(report.models[1].Goodput(), 0.97);
  EXPECT_GT(report.models[0].shed + report.models[0].expired, 10'000u);
}

TEST(SimulationTest, OverheadMakesBatchesOfAModelThatGainsNothingElse) {
  SimOptions options;
  options.cores = 1;
  options.length = 6s;
  const auto mean_batch = [&](Duration overhead) {
    options.overhead = overhead;
    const ModelOutcome out =
        RunPolicy({Model("poisson:3900", 0ns, 250us)}, "auto", options).models[0];
    uint64_t batches = 0;
    for (const auto& [rows, count] : out.batches) batches += count;
    return static_cast<double>(out.rows_run) / static_cast<double>(batches);
  };
  EXPECT_LT(mean_batch(0ns), 1.01);
  EXPECT_GT(mean_batch(50us), 2);
}

TEST(SimulationTest, WhatAClientWaitsBesideIsInItsLatencyAndChangesNoDecision) {
  SimOptions options;
  options.length = 6s;
  const std::vector<SimModel> models{Model("poisson:2000", 100us, 100us, 20ms)};
  const ModelOutcome plain = RunPolicy(models, "auto", options).models[0];
  options.front = 5ms;
  const ModelOutcome behind = RunPolicy(models, "auto", options).models[0];
  EXPECT_EQ(plain.batches, behind.batches);
  EXPECT_NEAR(behind.latency.QuantileSeconds(0.5) - plain.latency.QuantileSeconds(0.5), 0.005,
              2e-4);
  options.front = 20ms;
  EXPECT_EQ(RunPolicy(models, "auto", options).models[0].within, 0);
}

TEST(SimulationTest, BatchingServesWhatOneByOneCannot) {
  const std::vector<SimModel> models{Model("poisson:12000", 140us, 13us, 20ms)};
  EXPECT_LT(RunPolicy(models, "none").models[0].Goodput(), 0.6);
  EXPECT_GT(RunPolicy(models, "auto").models[0].Goodput(), 0.999);
}

TEST(SimulationTest, SavingPowerTakesLessCoreTimeWithinTheObjective) {
  const std::vector<SimModel> models{Model("poisson:2000", 140us, 13us, 20ms)};
  SimOptions options;
  const SimReport at_once = RunPolicy(models, "auto", options);
  options.save_power = true;
  const SimReport saved = RunPolicy(models, "auto", options);
  EXPECT_LT(saved.models[0].core_seconds, 0.4 * at_once.models[0].core_seconds);
  EXPECT_GT(saved.models[0].Goodput(), 0.99);
}

// A model of both classes: T(n) = 4 ms + 50 us n on the accelerator (some 9,000 rows a second at its knee), n ms on a core.
SimModel BothClasses(const std::string& arrivals, DeviceClass device = DeviceClass::kAuto) {
  SimModel model = Model(arrivals, 0ns, 1ms, 100ms);
  policy::BatchCurve curve;
  for (int n = 1; n <= 64; n *= 2) curve.Set(n, 4ms + n * Duration(50us), 4ms + n * Duration(50us));
  model.device_service = ServiceTimes(curve, false);
  model.device_share = {8, int64_t{1} << 30};
  model.device = device;
  return model;
}

TEST(SimulationDeviceTest, LowLoadStaysOnTheFasterClass) {
  const SimReport report = RunPolicy({BothClasses("constant:100")}, "auto");
  const ModelOutcome& m = report.models[0];
  EXPECT_EQ(m.device_rows, m.rows_run);
  EXPECT_EQ(report.mean_cores, 0);
  EXPECT_EQ(m.within, m.arrived);
  EXPECT_TRUE(m.outlook.device_first);
}

TEST(SimulationDeviceTest, OverloadOverflowsToTheOtherClass) {
  SimOptions options;
  options.deadlines = true;  // without, all are late in the end, and goodput tells nothing
  const double alone = RunPolicy({BothClasses("poisson:9400", DeviceClass::kGpu)}, "auto", options)
                           .models[0]
                           .Goodput();
  const SimReport both = RunPolicy({BothClasses("poisson:9400")}, "auto", options);
  const ModelOutcome& m = both.models[0];
  EXPECT_GT(m.rows_run - m.device_rows, m.rows_run / 40);
  EXPECT_GT(m.device_rows, m.rows_run * 3 / 4);
  EXPECT_GT(both.mean_cores, 0.5);
  EXPECT_LE(both.mean_cores, 2);
  EXPECT_GT(alone, 0.5);
  EXPECT_GT(m.Goodput(), alone);
  EXPECT_EQ(Outcomes(m), m.arrived);
}

TEST(SimulationDeviceTest, WithoutAutoNothingRunsOnTheOtherClass) {
  SimOptions options;
  options.length = 2s;
  options.warm_up = 200ms;
  for (const std::string_view policy : policy::NodePolicyNames()) {
    const SimReport gpu =
        RunPolicy({BothClasses("poisson:20000", DeviceClass::kGpu)}, policy, options);
    EXPECT_EQ(gpu.models[0].device_rows, gpu.models[0].rows_run) << policy;
    EXPECT_EQ(gpu.mean_cores, 0) << policy;
    const SimReport cpu =
        RunPolicy({BothClasses("poisson:20000", DeviceClass::kCpu)}, policy, options);
    EXPECT_EQ(cpu.models[0].device_rows, 0u) << policy;
  }
  // And the method never overflows.
  const SimReport method = RunPolicy({BothClasses("poisson:20000")}, "method", options);
  EXPECT_EQ(method.models[0].device_rows, method.models[0].rows_run);
  EXPECT_GT(method.models[0].rows_run, 0u);
}

TEST(SimulationDeviceTest, AnAcceleratorIsNotSlowedDownByTheCores) {
  std::vector<SimModel> models{BothClasses("poisson:500", DeviceClass::kGpu),
                               Model("poisson:3000", 0ns, 1ms, 500ms)};
  models[1].name = "n";
  SimOptions options;
  const double alone = RunPolicy({models[0]}, "auto", options).models[0].latency.mean_s();
  const double beside = RunPolicy(models, "auto", options).models[0].latency.mean_s();
  EXPECT_NEAR(beside, alone, 0.02 * alone);
}

TEST(GoodputTest, FindsTheCapacityOfAKnownServer) {
  // One row takes 1 ms on its only instance, and a row may wait for 49 more: near 1,000 a second.
  SimOptions options;
  options.length = 30s;
  const auto fresh = [] {
    auto made = policy::MakeNodePolicy("none");
    return std::move(*made);
  };
  const GoodputResult found = FindGoodput({Model("poisson:100", 0ns, 1ms)}, fresh, options);
  EXPECT_GT(found.factor, 9);
  EXPECT_LT(found.factor, 10.2);
  EXPECT_GE(found.report.models[0].Goodput(), 0.99);
}

TEST(LatencyCountsTest, QuantilesAreWithinAPercentAbove) {
  LatencyCounts counts;
  for (int i = 1; i <= 10'000; ++i) counts.Add(i * 1us);
  for (const double q : {0.5, 0.9, 0.99, 1.0}) {
    EXPECT_GE(counts.QuantileSeconds(q), q * 0.01 * (1 - 1e-9));
    EXPECT_LE(counts.QuantileSeconds(q), q * 0.01 * 1.0101);
  }
}

}  // namespace
}  // namespace evenkeel::sim
