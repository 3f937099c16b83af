#include "batching/window.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

const Time kNow = Time(1s);

LaneView Waiting(int64_t rows, Duration age = 0ms) {
  LaneView lane;
  lane.waiting_rows = rows;
  lane.head_rows = 1;
  lane.oldest_arrival = kNow - age;
  return lane;
}

InstanceView Idle(int max_batch) {
  InstanceView instance;
  instance.max_batch = max_batch;
  return instance;
}

InstanceView Busy(int max_batch) {
  InstanceView instance = Idle(max_batch);
  instance.idle = false;
  return instance;
}

std::unique_ptr<Window> Make(BatchingPolicy policy, Duration max_delay = 0ms,
                             std::vector<int> preferred = {}) {
  BatchingConfig config;
  config.policy = policy;
  config.max_delay = max_delay;
  config.preferred_sizes = std::move(preferred);
  return MakeWindow(config);
}

TEST(GreedyWindowTest, TakesWhatWaitsWhenIdle) {
  const auto decision = Make(BatchingPolicy::kGreedy)->Decide(Waiting(5), Idle(8), kNow);
  EXPECT_EQ(decision.take_rows, 5);
  EXPECT_EQ(decision.reason, CloseReason::kIdle);
}

TEST(GreedyWindowTest, WaitsBehindARunningBatchUntilFull) {
  const auto window = Make(BatchingPolicy::kGreedy);
  EXPECT_EQ(window->Decide(Waiting(7), Busy(8), kNow).take_rows, 0);
  const auto full = window->Decide(Waiting(9), Busy(8), kNow);
  EXPECT_EQ(full.take_rows, 8);
  EXPECT_EQ(full.reason, CloseReason::kFull);
}

TEST(GreedyWindowTest, SaysShapeWhenOtherShapesWait) {
  LaneView lane = Waiting(3);
  lane.others_wait = true;
  EXPECT_EQ(Make(BatchingPolicy::kGreedy)->Decide(lane, Idle(8), kNow).reason, CloseReason::kShape);
}

TEST(FixedWindowTest, WaitsForMaxDelayAfterTheOldest) {
  const auto window = Make(BatchingPolicy::kFixed, 5ms);
  const auto early = window->Decide(Waiting(3, 2ms), Idle(8), kNow);
  EXPECT_EQ(early.take_rows, 0);
  EXPECT_EQ(early.wake_at, kNow + 3ms);
  const auto late = window->Decide(Waiting(3, 5ms), Idle(8), kNow);
  EXPECT_EQ(late.take_rows, 3);
  EXPECT_EQ(late.reason, CloseReason::kDeadline);
}

TEST(FixedWindowTest, ClosesBeforeADeadlineWouldBeMissed) {
  const auto window = Make(BatchingPolicy::kFixed, 50ms);
  LaneView lane = Waiting(1);
  lane.earliest_deadline = kNow + 10ms;
  InstanceView instance = Idle(8);
  instance.batch_time = 3ms;
  EXPECT_EQ(window->Decide(lane, instance, kNow).wake_at, kNow + 4ms);
  EXPECT_EQ(window->Decide(lane, instance, kNow + 4ms).take_rows, 1);
}

TEST(FixedWindowTest, ClosesEarlyAtTheLargestPreferredSize) {
  const auto window = Make(BatchingPolicy::kFixed, 50ms, {4, 2});
  EXPECT_EQ(window->Decide(Waiting(1), Idle(8), kNow).take_rows, 0);
  EXPECT_EQ(window->Decide(Waiting(3), Idle(8), kNow).take_rows, 2);
  EXPECT_EQ(window->Decide(Waiting(5), Idle(8), kNow).take_rows, 4);
}

TEST(NoBatchingWindowTest, TakesTheFirstRequestAlone) {
  LaneView lane = Waiting(6);
  lane.head_rows = 2;
  EXPECT_EQ(Make(BatchingPolicy::kNone)->Decide(lane, Idle(8), kNow).take_rows, 2);
}

TEST(WindowTest, DrainingClosesAtOnce) {
  InstanceView instance = Idle(8);
  instance.draining = true;
  const auto decision = Make(BatchingPolicy::kFixed, 50ms)->Decide(Waiting(3), instance, kNow);
  EXPECT_EQ(decision.take_rows, 3);
  EXPECT_EQ(decision.reason, CloseReason::kDrain);
}

// Whatever waits: a decision takes at least the head and no more than there is or fits, or says when to ask again, or
// depends on the instance becoming idle.
RC_GTEST_PROP(WindowProperty, DecisionsStayInBounds, ()) {
  const auto policy =
      *rc::gen::element(BatchingPolicy::kNone, BatchingPolicy::kGreedy, BatchingPolicy::kFixed);
  const auto window = Make(policy, Duration(*rc::gen::inRange(0, 10'000'000)));
  LaneView lane = Waiting(*rc::gen::inRange(1, 200), Duration(*rc::gen::inRange(0, 20'000'000)));
  InstanceView instance;
  instance.max_batch = *rc::gen::inRange(1, 65);
  instance.idle = *rc::gen::arbitrary<bool>();
  const auto decision = window->Decide(lane, instance, kNow);
  RC_ASSERT(decision.take_rows >= 0);
  RC_ASSERT(decision.take_rows <= std::min<int64_t>(lane.waiting_rows, instance.max_batch));
  if (decision.take_rows == 0 && instance.idle) {
    RC_ASSERT(decision.wake_at > kNow);
    RC_ASSERT(window->Decide(lane, instance, decision.wake_at).take_rows > 0);
  }
}

}  // namespace
}  // namespace evenkeel
