#include "batching/policy/window.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

const Time kNow = Time(1s);

LaneView Waiting(int64_t rows, int max_rows, Duration age = 0ms) {
  LaneView lane;
  lane.waiting_rows = rows;
  lane.max_rows = max_rows;
  lane.oldest_arrival = kNow - age;
  return lane;
}

const SlotView kIdle;
const SlotView kBusy{.idle = false};

Window Greedy() { return {BatchingPolicy::kGreedy, {}, {}}; }
Window Fixed(Duration max_delay, std::span<const int> preferred = {}) {
  return {BatchingPolicy::kFixed, max_delay, preferred};
}

TEST(GreedyWindowTest, TakesWhatWaitsWhenIdle) {
  const Closing closing = Greedy().Decide(Waiting(5, 8), kIdle, kNow);
  EXPECT_EQ(closing.rows, 5);
  EXPECT_EQ(closing.reason, CloseReason::kIdle);
}

TEST(GreedyWindowTest, WaitsBehindARunningBatchUntilFull) {
  EXPECT_EQ(Greedy().Decide(Waiting(7, 8), kBusy, kNow).rows, 0);
  const Closing full = Greedy().Decide(Waiting(9, 8), kBusy, kNow);
  EXPECT_EQ(full.rows, 8);
  EXPECT_EQ(full.reason, CloseReason::kFull);
}

TEST(GreedyWindowTest, SaysShapeWhenOtherShapesWait) {
  SlotView slot;
  slot.others_wait = true;
  EXPECT_EQ(Greedy().Decide(Waiting(3, 8), slot, kNow).reason, CloseReason::kShape);
}

TEST(FixedWindowTest, WaitsForMaxDelayAfterTheOldest) {
  const Closing early = Fixed(5ms).Decide(Waiting(3, 8, 2ms), kIdle, kNow);
  EXPECT_EQ(early.rows, 0);
  EXPECT_EQ(early.wake_at, kNow + 3ms);
  const Closing late = Fixed(5ms).Decide(Waiting(3, 8, 5ms), kIdle, kNow);
  EXPECT_EQ(late.rows, 3);
  EXPECT_EQ(late.reason, CloseReason::kDeadline);
}

TEST(FixedWindowTest, ClosesBeforeADeadlineWouldBeMissed) {
  LaneView lane = Waiting(1, 8);
  lane.earliest_deadline = kNow + 10ms;
  SlotView slot;
  slot.mean_time = slot.p99_time = 3ms;
  EXPECT_EQ(Fixed(50ms).Decide(lane, slot, kNow).wake_at, kNow + 4ms);
  EXPECT_EQ(Fixed(50ms).Decide(lane, slot, kNow + 4ms).rows, 1);
}

TEST(FixedWindowTest, LeavesTimeForABatchOfAHundredThatTakesLong) {
  LaneView lane = Waiting(1, 8);
  lane.earliest_deadline = kNow + 10ms;
  SlotView slot;
  slot.mean_time = 1ms;
  slot.p99_time = 7ms;
  EXPECT_EQ(Fixed(50ms).Decide(lane, slot, kNow).wake_at, kNow + 3ms);
}

TEST(FixedWindowTest, ClosesEarlyAtTheLargestPreferredSize) {
  const int sizes[] = {2, 4};
  EXPECT_EQ(Fixed(50ms, sizes).Decide(Waiting(1, 8), kIdle, kNow).rows, 0);
  EXPECT_EQ(Fixed(50ms, sizes).Decide(Waiting(3, 8), kIdle, kNow).rows, 2);
  EXPECT_EQ(Fixed(50ms, sizes).Decide(Waiting(5, 8), kIdle, kNow).rows, 4);
}

TEST(FixedWindowTest, APreferredSizeGrowsWhileABatchRuns) {
  const int sizes[] = {2, 4};
  EXPECT_EQ(Fixed(50ms, sizes).Decide(Waiting(3, 8), kBusy, kNow).rows, 0);
  EXPECT_EQ(Fixed(50ms, sizes).Decide(Waiting(8, 8), kBusy, kNow).rows, 8);
}

TEST(NoBatchingWindowTest, TakesTheFirstRequestAlone) {
  LaneView lane = Waiting(6, 8);
  lane.head_rows = 2;
  const Window window{BatchingPolicy::kNone, {}, {}};
  EXPECT_EQ(window.Decide(lane, kIdle, kNow).rows, 2);
}

TEST(WindowTest, DrainingClosesAtOnce) {
  SlotView slot;
  slot.draining = true;
  const Closing closing = Fixed(50ms).Decide(Waiting(3, 8), slot, kNow);
  EXPECT_EQ(closing.rows, 3);
  EXPECT_EQ(closing.reason, CloseReason::kDrain);
}

// Whatever waits: at least the head and no more than there is or fits is taken, or it says when to ask again, or that depends on the
// instance becoming idle.
RC_GTEST_PROP(WindowProperty, DecisionsStayInBounds, ()) {
  const auto rule =
      *rc::gen::element(BatchingPolicy::kNone, BatchingPolicy::kGreedy, BatchingPolicy::kFixed);
  const Window window{rule, Duration(*rc::gen::inRange(0, 10'000'000)), {}};
  const LaneView lane = Waiting(*rc::gen::inRange(1, 200), *rc::gen::inRange(1, 65),
                                Duration(*rc::gen::inRange(0, 20'000'000)));
  SlotView slot;
  slot.idle = *rc::gen::arbitrary<bool>();
  const Closing closing = window.Decide(lane, slot, kNow);
  RC_ASSERT(closing.rows >= 0);
  RC_ASSERT(closing.rows <= std::min<int64_t>(lane.waiting_rows, lane.max_rows));
  if (closing.rows == 0 && slot.idle) {
    RC_ASSERT(closing.wake_at > kNow);
    RC_ASSERT(window.Decide(lane, slot, closing.wake_at).rows > 0);
  }
}

}  // namespace
}  // namespace evenkeel::policy
