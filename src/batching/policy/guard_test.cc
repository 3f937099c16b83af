#include "batching/policy/guard.h"

#include <gtest/gtest.h>

#include <deque>
#include <vector>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

// One model with T(n) = 2 ms + n ms on the only core, and a flow of rows.
class GuardTest : public ::testing::Test {
 protected:
  GuardTest() {
    for (int n = 1; n <= 64; n *= 2) curve_.Set(n, 2ms + n * 1ms, 2ms + n * 1ms);
    model_.instances = {&instance_, 1};
    model_.curve = &curve_;
    model_.traffic = &traffic_;
    node_.models = {&model_, 1};
  }

  // Rows `gap` apart for `length`; how long the guard was on.
  Duration Run(Duration gap, Duration length, Duration objective, Steering steering) {
    model_.objective = objective;
    Duration guarded{};
    for (const Time end = now_ + length; now_ < end;) {
      now_ += gap;
      traffic_.OnArrival(1, now_);
      if (guard_.Tick(node_, {&steering, 1}, now_)) guarded += gap;
    }
    return guarded;
  }

  BatchCurve curve_;
  InstanceView instance_;
  Traffic traffic_{Time(100s)};
  ModelView model_;
  NodeView node_;
  Guard guard_;
  Time now_ = Time(100s);
};

TEST_F(GuardTest, TripsWhereWaitingCostsObjectives) {
  // A target of 10 rows that come 2 ms apart is waited for until half the objective has passed; then three rows take 5 ms.
  EXPECT_GT(Run(2ms, 2s, 8ms, {20, 10, 500.0}), 1s);
}

TEST_F(GuardTest, LetsWaitingBeThatCostsNone) {
  EXPECT_EQ(Run(2ms, 5s, 200ms, {20, 10, 500.0}), 0s);
}

TEST_F(GuardTest, LetsBothBeWhenBothMiss) {
  // Nothing can answer within 2 ms: waiting is not to blame.
  EXPECT_EQ(Run(2ms, 5s, 2ms, {20, 10, 500.0}), 0s);
}

TEST_F(GuardTest, HoldsForHalfAMinuteAndThenLooksAgain) {
  Run(2ms, 2s, 8ms, {20, 10, 500.0});
  EXPECT_TRUE(guard_.Idle(now_));
  EXPECT_TRUE(guard_.Idle(now_ + 25s));
  EXPECT_FALSE(guard_.Idle(now_ + 31s));
}

TEST_F(GuardTest, WhatLanguageModelsAreEntitledToIsNotTheShadows) {
  // Two instances: on two cores waiting costs nothing that time would show; beside a language model that is entitled to one of them the shadows have one.
  const InstanceView two[] = {{.threads = 1}, {.threads = 1}};
  model_.instances = two;
  node_.cores = 2;
  const Steering steering{4, 4, 400.0};
  const auto missed = [&](double standing) {
    node_.standing_share = standing;
    ShadowNode shadow(false);
    int64_t sum = 0;
    const Steering* one = &steering;
    const int64_t rows = 1;
    model_.objective = 12ms;
    for (int i = 0; i < 400; ++i) {
      now_ += 2500us;
      shadow.Advance(node_, {one, 1}, {&rows, 1}, now_);
      sum += shadow.TakeMissed();
    }
    return sum;
  };
  // A row each 2.5 ms, 3 ms alone and 1 ms more for each beside it.
  EXPECT_EQ(missed(0), 0);
  EXPECT_EQ(missed(1), missed(1.4));
  node_.cores = 1;
  const int64_t on_one = missed(0);
  node_.cores = 2;
  EXPECT_EQ(missed(1), on_one);
}

TEST_F(GuardTest, ABurstBeyondItsMemoryIsCountedAllTheSame) {
  model_.objective = 50ms;
  const Steering steering{20, 10, 1000.0};
  guard_.Tick(node_, {&steering, 1}, now_);
  for (int i = 0; i < 20'000; ++i) {
    traffic_.OnArrival(1, now_);
    guard_.Tick(node_, {&steering, 1}, now_);
  }
  EXPECT_FALSE(guard_.Tick(node_, {&steering, 1}, now_ + 100s));
}

}  // namespace
}  // namespace evenkeel::policy
