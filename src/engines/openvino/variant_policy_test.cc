#include "engines/openvino/variant_policy.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

void Alternate(VariantPolicy& policy, int64_t a, int64_t b, int times, Duration took) {
  for (int i = 0; i < times; ++i) {
    policy.OnCommonRun(a, true, took);
    policy.OnCommonRun(b, true, took);
  }
}

TEST(VariantPolicy, AModelThatKeepsItsSizeGetsNoOtherForm) {
  VariantPolicy policy;
  for (int i = 0; i < 1000; ++i) policy.OnCommonRun(8, i == 0, 100us);
  EXPECT_EQ(policy.Next(), std::nullopt);
}

TEST(VariantPolicy, ASizeIsConsideredAfterEnoughChanges) {
  VariantPolicy policy;
  for (uint32_t i = 1; i < VariantPolicy::kRunsBefore; ++i) policy.OnCommonRun(8, true, 100us);
  EXPECT_EQ(policy.Next(), std::nullopt);
  policy.OnCommonRun(8, true, 100us);
  EXPECT_EQ(policy.Next(), 8);
}

TEST(VariantPolicy, WhatCostsMostComesFirstAndOneAtATime) {
  VariantPolicy policy;
  Alternate(policy, 3, 5, 40, 100us);
  Alternate(policy, 7, 9, 40, 300us);
  policy.OnCommonRun(9, true, 300us);
  EXPECT_EQ(policy.Next(), 9);
  EXPECT_EQ(policy.Next(), std::nullopt);
  policy.Built(9);
  EXPECT_EQ(policy.Next(), 7);
  policy.Refuse(7);
  EXPECT_NE(policy.Next(), 7);
}

TEST(VariantPolicy, ASizeWhoseChangesCostNothingIsLeftAlone) {
  VariantPolicy policy;
  for (int i = 0; i < 100; ++i) {
    policy.OnCommonRun(8, true, 1000us);
    policy.OnCommonRun(8, false, 980us);
  }
  EXPECT_EQ(policy.Next(), std::nullopt);
  for (int i = 0; i < 100; ++i) {
    policy.OnCommonRun(4, true, 1000us);
    policy.OnCommonRun(4, false, 500us);
  }
  EXPECT_EQ(policy.Next(), 4);
}

TEST(VariantPolicy, AFormThatDoesNotGainIsGivenUpForGood) {
  VariantPolicy policy;
  Alternate(policy, 3, 5, 40, 100us);
  const int64_t rows = policy.Next().value();
  policy.Built(rows);
  for (uint32_t i = 1; i < VariantPolicy::kRunsOnTrial; ++i) {
    ASSERT_TRUE(policy.OnOwnRun(rows, 99us));
  }
  EXPECT_FALSE(policy.OnOwnRun(rows, 99us));
  Alternate(policy, rows, rows + 100, 100, 100us);
  for (std::optional<int64_t> next; (next = policy.Next());) {
    EXPECT_NE(*next, rows);
    policy.Refuse(*next);
  }
}

TEST(VariantPolicy, AFormThatGainsStays) {
  VariantPolicy policy;
  Alternate(policy, 3, 5, 40, 100us);
  const int64_t rows = policy.Next().value();
  policy.Built(rows);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(policy.OnOwnRun(rows, 50us));
}

TEST(VariantPolicy, AFormThatIsNotUsedMakesRoomAndMayComeBack) {
  VariantPolicy policy;
  for (int rows = 1; rows <= VariantPolicy::kMaxVariants; ++rows) {
    for (int i = 0; i < 40; ++i) policy.OnCommonRun(rows, true, 100us);
    policy.Built(policy.Next().value());
  }
  Alternate(policy, 50, 51, 40, 100us);
  EXPECT_EQ(policy.Next(), std::nullopt);
  EXPECT_EQ(policy.Unused(), std::nullopt);
  for (uint64_t i = 0; i < VariantPolicy::kRunsUnused; ++i) policy.OnOwnRun(2, 50us);
  EXPECT_EQ(policy.Unused(), 1);
  EXPECT_EQ(policy.Unused(), std::nullopt) << "one place is free";
  EXPECT_GE(policy.Next().value(), 50);
  Alternate(policy, 1, 51, 300, 900us);
  EXPECT_FALSE(policy.OnOwnRun(1, 50us));
}

TEST(VariantPolicy, ThereAreNeverMoreThanAllowed) {
  VariantPolicy policy;
  for (int rows = 1; rows <= 20; ++rows) {
    for (int i = 0; i < 40; ++i) policy.OnCommonRun(rows, true, 100us);
  }
  int built = 0;
  for (std::optional<int64_t> next; (next = policy.Next()); ++built) policy.Built(*next);
  EXPECT_EQ(built, VariantPolicy::kMaxVariants);
}

}  // namespace
}  // namespace evenkeel
