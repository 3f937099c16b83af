#include "cluster/live/cost_drift.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace evenkeel {
namespace {

// Values that scatter about `cost` by `noise` of their logarithm.
class Source {
 public:
  Source(uint64_t seed, double noise) : random_(seed), noise_(0, noise) {}
  double operator()(double cost) { return cost * std::exp(noise_(random_)); }

 private:
  std::mt19937_64 random_;
  std::normal_distribution<double> noise_;
};

TEST(CostDriftTest, LearnsTheCostAndItsNoise) {
  CostDrift drift;
  EXPECT_FALSE(drift.known());
  EXPECT_EQ(drift.cost(), 0);
  Source source(1, 0.2);
  for (int i = 0; i < 1000; ++i) drift.OnCost(source(0.01));
  EXPECT_NEAR(drift.cost(), 0.01, 0.0005);
  EXPECT_NEAR(drift.noise(), 0.2, 0.05);
}

TEST(CostDriftTest, SteadyNoiseIsNoChange) {
  int alarms = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    CostDrift drift;
    Source source(seed, 0.2);
    for (int i = 0; i < 10'000; ++i) alarms += drift.OnCost(source(3e-4)).has_value() ? 1 : 0;
  }
  EXPECT_EQ(alarms, 0) << "in 200,000 values";
}

TEST(CostDriftTest, TenTimesTheCostIsNoticedAtTheFifthValueInEitherDirection) {
  for (const double factor : {10.0, 0.1}) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
      CostDrift drift;
      Source source(seed, 0.2);
      for (int i = 0; i < 30; ++i) ASSERT_FALSE(drift.OnCost(source(0.01)).has_value());
      int values = 0;
      std::optional<CostDrift::Change> change;
      while (!change && values < 20) {
        change = drift.OnCost(source(0.01 * factor));
        ++values;
      }
      ASSERT_TRUE(change.has_value());
      EXPECT_LE(values, 6) << "seed " << seed;
      EXPECT_NEAR(std::log(change->after / change->before), std::log(factor), 0.4);
      EXPECT_NEAR(std::log(drift.cost() / (0.01 * factor)), 0, 0.4);
      EXPECT_FALSE(drift.OnCost(source(0.01 * factor)).has_value()) << "told once";
    }
  }
}

TEST(CostDriftTest, HalfAsMuchAgainIsNoticedAndATenthMoreIsNot) {
  CostDrift half, tenth;
  Source source(3, 0.05);
  for (int i = 0; i < 100; ++i) {
    half.OnCost(source(1));
    tenth.OnCost(source(1));
  }
  int noticed = 0;
  for (int i = 0; i < 200; ++i) {
    noticed += half.OnCost(source(1.5)).has_value() ? 1 : 0;
    EXPECT_FALSE(tenth.OnCost(source(1.1)).has_value());
  }
  EXPECT_EQ(noticed, 1);
}

TEST(CostDriftTest, AChangeThatComesWhileItLearnsIsSeenSoonToo) {
  for (int before = 1; before < 12; ++before) {
    for (const double factor : {1000.0, 10.0, 0.01}) {
      CostDrift drift;
      Source source(static_cast<uint64_t>(before), 0.1);
      for (int i = 0; i < before; ++i) drift.OnCost(source(1));
      for (int i = 0; i < 30; ++i) drift.OnCost(source(factor));
      EXPECT_NEAR(std::log(drift.cost() / factor), 0, 0.25)
          << before << " values before, " << factor;
    }
  }
}

TEST(CostDriftTest, SingleOutliersChangeNothing) {
  CostDrift drift;
  Source source(4, 0.1);
  for (int i = 0; i < 1000; ++i)
    ASSERT_FALSE(drift.OnCost(source(i % 20 == 19 ? 1.0 : 0.01)).has_value()) << i;
  EXPECT_NEAR(drift.cost(), 0.01, 0.001);
}

}  // namespace
}  // namespace evenkeel
