#include "batching/policy/late_cost.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

TEST(LateCostTest, IsTimeOverUnitsWhateverTheBatches) {
  LateCost cost;
  EXPECT_EQ(cost.seconds_per_unit(), 0);
  cost.Record(8, 0ms);
  EXPECT_EQ(cost.seconds_per_unit(), 0);
  for (int i = 0; i < 1000; ++i) {
    cost.Record(8, 40ms);
    cost.Record(2, 20ms);
  }
  EXPECT_NEAR(cost.seconds_per_unit(), 0.006, 0.0001);
}

// The sums by their definition, from all that ever ran and did something.
TEST(LateCostTest, IsWhatTheSlowReferenceSays) {
  LateCost cost;
  std::vector<std::pair<double, double>> ran;  // units, seconds
  for (int i = 0; i < 300; ++i) {
    const int ms = 5 + i * 37 % 90;
    const double units = i % 7 == 0 ? 0 : 1 + i % 13;
    cost.Record(units, ms * 1ms);
    if (units > 0) ran.emplace_back(units, ms * 1e-3);
    double seconds = 0, sum = 0, later = 0;
    for (auto at = ran.rbegin(); at != ran.rend(); later += at++->second) {
      const double weight = std::exp(-later / Seconds(LateCost::kMemory));
      sum += weight * at->first;
      seconds += weight * at->second;
    }
    if (sum > 0) {
      ASSERT_NEAR(cost.seconds_per_unit(), seconds / sum, 1e-9) << i;
    }
  }
}

// Half of the cores are gone: whatever it ran for before.
TEST(LateCostTest, FollowsALastingChangeWithinSeconds) {
  LateCost cost;
  for (int i = 0; i < 100'000; ++i) cost.Record(8, 40ms);
  Duration ran{};
  while (cost.seconds_per_unit() < 0.009) {
    cost.Record(8, 80ms);
    ran += 80ms;
    ASSERT_LT(ran, 10s);
  }
  EXPECT_LE(Seconds(ran), 2.5 * Seconds(LateCost::kMemory));
}

// Prompts that are read for minutes, and nobody knows yet what one of their tokens is beside an answer's.
TEST(LateCostTest, WhatDidNothingSaysNothingHoweverLongItRan) {
  LateCost cost;
  cost.Record(8, 40ms);
  for (int i = 0; i < 1000; ++i) cost.Record(0, 500ms);
  EXPECT_DOUBLE_EQ(cost.seconds_per_unit(), 0.005);
}

TEST(LateCostTest, OneStallMovesItForAMoment) {
  LateCost cost;
  for (int i = 0; i < 1000; ++i) cost.Record(8, 40ms);
  cost.Record(8, 200ms);
  EXPECT_LT(cost.seconds_per_unit(), 0.0062);
  for (int i = 0; i < 75; ++i) cost.Record(8, 40ms);
  EXPECT_NEAR(cost.seconds_per_unit(), 0.005, 0.0001);
}

}  // namespace
}  // namespace evenkeel::policy
