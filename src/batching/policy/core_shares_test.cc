#include "batching/policy/core_shares.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

namespace evenkeel::policy {
namespace {

double Granted(std::span<const CoreShare> shares) {
  double sum = 0;
  for (const CoreShare& share : shares) sum += share.granted;
  return sum;
}

TEST(CoreSharesTest, WhatFitsIsGrantedAndTheRestMayBeCountedOn) {
  const auto shares = ShareCores(std::vector<CoreDemand>{{0.5, 0.5, 1}, {0.2, 0.2, 2}}, 2);
  EXPECT_DOUBLE_EQ(shares[0].granted, 0.5);
  EXPECT_DOUBLE_EQ(shares[1].granted, 0.2);
  EXPECT_DOUBLE_EQ(shares[0].counted_on, 1);    // its instances' threads
  EXPECT_DOUBLE_EQ(shares[1].counted_on, 1.5);  // what the other leaves
}

TEST(CoreSharesTest, AllRatesTwiceAsHighKeepTheirProportions) {
  const std::vector<CoreDemand> models = {{2.0, 1.0, 4}, {0.4, 0.2, 4}, {1.6, 0.8, 4}};
  const auto shares = ShareCores(models, 2);
  for (size_t i = 0; i < models.size(); ++i) {
    EXPECT_NEAR(shares[i].granted, models[i].wanted / 2, 1e-12);
    EXPECT_NEAR(shares[i].counted_on, shares[i].granted, 1e-12);
  }
}

TEST(CoreSharesTest, AModelThatIsFloodedDoesNotTakeFromTheOthers) {
  const auto shares = ShareCores(std::vector<CoreDemand>{{10, 0.5, 2}, {0.7, 0.7, 2}}, 2);
  EXPECT_DOUBLE_EQ(shares[1].granted, 0.7);
  EXPECT_NEAR(shares[0].granted, 1.3, 1e-12);
}

TEST(CoreSharesTest, AModelThatWantsNothingCanCountOnItsWeight) {
  const auto shares = ShareCores(std::vector<CoreDemand>{{0, 1, 2}, {8, 1, 2}, {1, 1, 2}}, 2);
  EXPECT_EQ(shares[0].granted, 0);
  EXPECT_DOUBLE_EQ(shares[1].granted, 1);
  EXPECT_DOUBLE_EQ(shares[0].counted_on, 1);
}

// Slow reference: cores are given out in small steps, each to the model with the least grant over its weight among those
// that want more.
std::vector<double> InSteps(std::span<const CoreDemand> models, double cores) {
  constexpr double kStep = 1e-3;
  std::vector<double> granted(models.size());
  for (double given = 0; given + kStep <= cores; given += kStep) {
    int next = -1;
    double least = 0;
    for (size_t i = 0; i < models.size(); ++i) {
      const double weight = models[i].weight > 0 ? models[i].weight : models[i].wanted;
      if (granted[i] + kStep > std::min(models[i].wanted, models[i].most) || weight <= 0) continue;
      const double level = granted[i] / weight;
      if (next < 0 || level < least) {
        next = static_cast<int>(i);
        least = level;
      }
    }
    if (next < 0) break;
    granted[static_cast<size_t>(next)] += kStep;
  }
  return granted;
}

RC_GTEST_PROP(CoreSharesTest, GrantsAreMaxMinFair, ()) {
  const auto count = *rc::gen::inRange<size_t>(1, 6);
  std::vector<CoreDemand> models(count);
  for (CoreDemand& model : models) {
    model.wanted = *rc::gen::inRange(0, 300) / 100.0;
    model.weight = *rc::gen::inRange(0, 300) / 100.0;
    model.most = *rc::gen::inRange(1, 4);
  }
  const double cores = *rc::gen::inRange(1, 5);
  const auto shares = ShareCores(models, cores);
  const auto reference = InSteps(models, cores);
  RC_ASSERT(Granted(shares) <= cores + 1e-9);
  for (size_t i = 0; i < count; ++i) {
    RC_ASSERT(std::abs(shares[i].granted - reference[i]) <= 1e-2);
    RC_ASSERT(shares[i].counted_on >= shares[i].granted);
    RC_ASSERT(shares[i].counted_on <= models[i].most + 1e-9);
  }
}

}  // namespace
}  // namespace evenkeel::policy
