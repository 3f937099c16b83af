#include "batching/policy/admission.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

AdmissionView AnyView() {
  AdmissionView view;
  view.rows_ahead = *rc::gen::inRange(0, 5000);
  view.rows = *rc::gen::inRange(1, 64);
  view.size = *rc::gen::inRange(1, 256);
  view.batch_time = Duration(*rc::gen::inRange(1, 50'000'000));
  view.running = Duration(*rc::gen::inRange(0, 50'000'000));
  view.instances = *rc::gen::inRange(1, 4);
  view.stretch = *rc::gen::inRange(10, 100) / 10.0;
  view.turn = Duration(*rc::gen::inRange(0, 50'000'000));
  return view;
}

RC_GTEST_PROP(AdmissionProperty, NeverFallsAsMoreStandsInTheWay, ()) {
  const AdmissionView view = AnyView();
  AdmissionView more = view;
  more.rows_ahead += *rc::gen::inRange(0, 100);
  more.rows += *rc::gen::inRange(0, 100);
  more.running += Duration(*rc::gen::inRange(0, 1'000'000));
  more.stretch += *rc::gen::inRange(0, 10);
  more.turn += Duration(*rc::gen::inRange(0, 1'000'000));
  RC_ASSERT(PredictedAnswer(more) >= PredictedAnswer(view));
}

// Else a model whose share is small, or whose answers came late, would be refused all that does not find it idle.
RC_GTEST_PROP(AdmissionProperty, WhatOneBatchHoldsIsAcceptedAtAnyShare, ()) {
  AdmissionView view = AnyView();
  view.turn = {};
  view.instances = 1;
  const Duration limit(*rc::gen::inRange(1'000'000, 1'000'000'000));
  view.batch_time = LongestBatch(limit);
  view.running = view.batch_time;  // one of its own has just begun
  view.rows_ahead = view.size - 1;
  view.rows = 1;
  const Duration lateness(*rc::gen::inRange<int64_t>(0, limit.count()));
  RC_ASSERT(IsInTime(view, PredictedAnswer(view), lateness, limit));
}

RC_GTEST_PROP(AdmissionProperty, BeyondOneBatchLatenessCounts, ()) {
  const AdmissionView view = AnyView();
  const Duration limit(*rc::gen::inRange(1'000'000, 1'000'000'000));
  const Duration lateness(*rc::gen::inRange<int64_t>(0, limit.count()));
  const Duration predicted = PredictedAnswer(view);
  const bool taken = IsInTime(view, predicted, lateness, limit);
  if (predicted > limit) RC_ASSERT(!taken);
  if (view.rows_ahead + view.rows > view.size) RC_ASSERT(taken == (predicted + lateness <= limit));
}

TEST(AdmissionTest, WhatNothingStandsBeforeIsWorthATry) {
  AdmissionView view;
  view.batch_time = 1h;
  view.instances = 1;
  EXPECT_EQ(PredictedAnswer(view), Duration());
  view.rows_ahead = 1;
  EXPECT_GT(PredictedAnswer(view), 1h);
}

// A wait for the others' batches is as long before a small batch of its own as before a large one.
TEST(AdmissionTest, ATurnIsWaitedForOnceABatchHoweverSmallItIs) {
  AdmissionView view;
  view.rows_ahead = 1;
  view.size = 4;
  view.instances = 1;
  view.turn = 10ms;
  view.batch_time = 100us;
  EXPECT_NEAR(Seconds(PredictedAnswer(view)), 1.1e-3 * 10.1, 1e-8);
  view.stretch = 4;
  EXPECT_NEAR(Seconds(PredictedAnswer(view)), 1.1e-3 * 10.1, 1e-8);
}

TEST(AdmissionTest, AShareIsWaitedForByTheBatchesAfterTheFirst) {
  AdmissionView view;
  view.rows_ahead = 8;  // two batches and a row of its own
  view.size = 4;
  view.instances = 1;
  view.turn = 10ms;
  view.batch_time = 5ms;
  EXPECT_NEAR(Seconds(PredictedAnswer(view)), 1.1e-3 * 3 * 15, 1e-8);
  view.stretch = 4;
  EXPECT_NEAR(Seconds(PredictedAnswer(view)), 1.1e-3 * (15 + 2 * 20), 1e-8);
}

}  // namespace
}  // namespace evenkeel::policy
