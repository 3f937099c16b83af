#include "batching/policy/loop_lag.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

constexpr Time kBegin{1s};

// Everything that was seen, sorted anew each time.
struct Reference {
  std::vector<std::pair<Time, Duration>> seen;
  Duration Value(Time now) const {
    std::vector<Duration> late;
    const size_t first = seen.size() > LoopLag::kKept ? seen.size() - LoopLag::kKept : 0;
    for (size_t i = first; i < seen.size(); ++i) {
      if (now - seen[i].first < LoopLag::kSpan) late.push_back(seen[i].second);
    }
    if (late.size() < LoopLag::kFew) return {};
    std::sort(late.begin(), late.end());
    // The least value that nine of ten do not pass.
    for (size_t i = 0;; ++i) {
      if (10 * (i + 1) >= 9 * late.size()) return late[i];
    }
  }
};

RC_GTEST_PROP(LoopLagProperty, IsTheQuantileOfWhatWasSeenLately, ()) {
  LoopLag lag;
  Reference reference;
  Time now = kBegin;
  const int looks = *rc::gen::inRange(0, 400);
  const int longest_pause_ms = *rc::gen::element(10, 50, 500);
  for (int i = 0; i < looks; ++i) {
    now += *rc::gen::inRange(0, longest_pause_ms) * 1ms;
    const Duration late(*rc::gen::inRange(0, 20'000'000));
    lag.Saw(now, late);
    reference.seen.emplace_back(now, late);
    RC_ASSERT(lag.Value(now) == reference.Value(now));
  }
  now += *rc::gen::inRange(0, 3000) * 1ms;
  RC_ASSERT(lag.Value(now) == reference.Value(now));
}

RC_GTEST_PROP(LoopLagProperty, NeverFallsWhereEachLookComesLater, ()) {
  LoopLag lag, later;
  const int looks = *rc::gen::inRange(1, 300);
  for (int i = 0; i < looks; ++i) {
    const Duration late(*rc::gen::inRange(0, 20'000'000));
    lag.Saw(kBegin + i * 1ms, late);
    later.Saw(kBegin + i * 1ms, late + Duration(*rc::gen::inRange(0, 1'000'000)));
    RC_ASSERT(later.Value(kBegin + i * 1ms) >= lag.Value(kBegin + i * 1ms));
  }
}

RC_GTEST_PROP(LoopLagProperty, TheWayLeavesARequestHalfOfItsTime, ()) {
  const Duration lag(*rc::gen::inRange<int64_t>(0, 10'000'000'000));
  const Duration limit(*rc::gen::inRange<int64_t>(1, 10'000'000'000));
  const Duration way = TimeOnTheWay(lag, limit);
  RC_ASSERT(way >= Duration::zero());
  RC_ASSERT(way <= limit / 2);
  RC_ASSERT(way == 2 * lag || way == limit / 2);
  RC_ASSERT(TimeOnTheWay(lag + 1ms, limit) >= way);
}

TEST(LoopLagTest, FewLooksSayNothing) {
  LoopLag lag;
  for (size_t i = 1; i < LoopLag::kFew; ++i) lag.Saw(kBegin, 5ms);
  EXPECT_EQ(lag.Value(kBegin), Duration::zero());
  lag.Saw(kBegin, 5ms);
  EXPECT_EQ(lag.Value(kBegin), 5ms);
}

TEST(LoopLagTest, OneThatWasHeldUpIsNotTheRule) {
  LoopLag lag;
  for (int i = 0; i < 100; ++i) lag.Saw(kBegin, i % 20 == 0 ? 50ms : 1ms);
  EXPECT_EQ(lag.Value(kBegin), 1ms);
}

TEST(LoopLagTest, WhatIsOldIsForgotten) {
  LoopLag lag;
  for (int i = 0; i < 100; ++i) lag.Saw(kBegin, 5ms);
  EXPECT_EQ(lag.Value(kBegin + LoopLag::kSpan - 1ns), 5ms);
  EXPECT_EQ(lag.Value(kBegin + LoopLag::kSpan), Duration::zero());
}

}  // namespace
}  // namespace evenkeel::policy
