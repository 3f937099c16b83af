#include "cluster/policy/sequence_cost.h"

#include <gtest/gtest.h>

#include <vector>

namespace evenkeel {
namespace {

const std::vector<double> kSteps = {0.010, 0.012, 0.016, 0.024};  // of 1, 2, 4, 8

TEST(SequenceCostTest, StepsBetweenThoseThatAreKnownLieOnTheLine) {
  EXPECT_DOUBLE_EQ(StepTime(kSteps, 1), 0.010);
  EXPECT_DOUBLE_EQ(StepTime(kSteps, 2), 0.012);
  EXPECT_DOUBLE_EQ(StepTime(kSteps, 3), 0.014);
  EXPECT_DOUBLE_EQ(StepTime(kSteps, 6), 0.020);
  EXPECT_DOUBLE_EQ(StepTime(kSteps, 8), 0.024);
  EXPECT_DOUBLE_EQ(StepTime(kSteps, 16), 0.048);
  EXPECT_DOUBLE_EQ(StepTime(kSteps, 0), 0);
  EXPECT_DOUBLE_EQ(StepTime(std::vector{0.01}, 3), 0.03);
  EXPECT_DOUBLE_EQ(StepTime({}, 3), 0);
}

TEST(SequenceCostTest, AFreeSlotIsHadAtOnceAndEachOneMoreSlowsTheOthers) {
  SequencesThere there{.steps = kSteps, .prompt_s = 0.001, .slots = 8, .call_rows = 50};
  const SequenceCost alone = CostOfSequence(there, 100, 20);
  EXPECT_DOUBLE_EQ(alone.service_s, 100 * 0.010 + 20 * 0.001);
  EXPECT_DOUBLE_EQ(alone.wait_s, 0);
  EXPECT_DOUBLE_EQ(alone.beside_s, 0);
  there.open = 3;
  const SequenceCost fourth = CostOfSequence(there, 100, 20);
  EXPECT_DOUBLE_EQ(fourth.service_s, 100 * 0.016 + 20 * 0.001);
  EXPECT_DOUBLE_EQ(fourth.wait_s, 0);
  EXPECT_NEAR(fourth.beside_s, kBeside * 3 * (100 * 0.002 + 20 * 0.001), 1e-12);
}

TEST(SequenceCostTest, WithoutAFreeSlotItWaitsForTheAnswersBeforeIt) {
  SequencesThere there{.steps = kSteps, .slots = 8, .open = 7, .call_rows = 50};
  EXPECT_DOUBLE_EQ(CostOfSequence(there, 100, 0).wait_s, 0);
  there.open = 10;
  const SequenceCost cost = CostOfSequence(there, 100, 0);
  EXPECT_DOUBLE_EQ(cost.wait_s, 3 * 50 * 0.024 / 8);
  EXPECT_DOUBLE_EQ(cost.service_s, 100 * 0.024);  // beside 7 others, not 10
}

TEST(SequenceCostTest, NoiseInTheTableIsNobodysGain) {
  const std::vector<double> falling = {0.010, 0.009};
  EXPECT_DOUBLE_EQ(CostOfSequence({.steps = falling, .slots = 2, .open = 1}, 100, 0).beside_s, 0);
}

}  // namespace
}  // namespace evenkeel
