#include "batching/policy/hold.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

const Time kNow = Time(100s);

BatchCurve Curve() {
  BatchCurve curve;
  curve.Set(1, 1ms, 2ms);
  curve.Set(8, 4ms, 5ms);
  return curve;
}

HoldInput Waiting(int64_t rows, Duration age) {
  HoldInput in;
  in.waiting_rows = rows;
  in.oldest_arrival = kNow - age;
  in.last_arrival = kNow;
  in.deadline = in.oldest_arrival + 50ms;
  in.target = 8;
  in.rate_rps = 1000;
  return in;
}

TEST(HoldTest, EndsWhenTheBatchShouldBeFull) {
  // 8 rows at 1,000 a second from the oldest arrival on; silence would end it at 3 ms.
  HoldInput in = Waiting(6, 6ms);
  EXPECT_EQ(HoldEnd(in, Curve(), kNow), kNow + 2ms);
}

TEST(HoldTest, EndsBeforeTheDeadlineByTheNextSizesP99AndTheWaitForACore) {
  HoldInput in = Waiting(7, 1ms);
  in.deadline = kNow + 10ms;
  in.rate_rps = 300;
  in.core_wait = 2ms;
  EXPECT_EQ(HoldEnd(in, Curve(), kNow), kNow + 10ms - 5ms - 2ms);
}

TEST(HoldTest, IsOverWhenNothingMoreIsExpected) {
  EXPECT_LE(HoldEnd(Waiting(7, 7600us), Curve(), kNow), kNow);  // 0.4 rows in the 0.4 ms left
  HoldInput none = Waiting(2, 0ms);
  none.rate_rps = 0;
  EXPECT_LE(HoldEnd(none, Curve(), kNow), kNow);
}

TEST(HoldTest, ABurstThatStopsIsNotWaitedFor) {
  HoldInput in = Waiting(2, 1ms);
  in.last_arrival = kNow - 1ms;
  EXPECT_EQ(HoldEnd(in, Curve(), kNow), in.last_arrival + 3ms);
  in.last_arrival = kNow - 3ms;
  EXPECT_LE(HoldEnd(in, Curve(), kNow), kNow);
}

// Whatever is forecast: 100 times too much, too little, or nothing.
RC_GTEST_PROP(HoldProperty, NeverHoldsARowPastItsSlack, ()) {
  BatchCurve curve;
  curve.Set(1, Duration(*rc::gen::inRange(1, 5'000'000)), 5ms);
  curve.Set(32, 5ms, Duration(*rc::gen::inRange(5'000'000, 50'000'000)));
  HoldInput in;
  in.waiting_rows = *rc::gen::inRange(1, 40);
  in.oldest_arrival = kNow - *rc::gen::inRange(0, 100'000) * 1us;
  in.last_arrival = kNow - *rc::gen::inRange(0, 100'000) * 1us;
  in.deadline = in.oldest_arrival + *rc::gen::inRange(1, 200'000) * 1us;
  in.target = *rc::gen::inRange(1, 33);
  in.rate_rps = std::pow(10.0, *rc::gen::inRange(-6, 9));
  in.core_wait = *rc::gen::inRange(0, 20'000) * 1us;
  const Time end = HoldEnd(in, curve, kNow);
  const int next = static_cast<int>(std::min<int64_t>(in.target, in.waiting_rows + 1));
  RC_ASSERT(end <= std::max(kNow, in.deadline - curve.P99(next) - in.core_wait));
  RC_ASSERT(end <= std::max(kNow, in.oldest_arrival + 3600s));
}

}  // namespace
}  // namespace evenkeel::policy
