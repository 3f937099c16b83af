#include "batching/policy/method_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "batching/policy/fake_node.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

// A10 to the letter: T(n) = 8 ms + n ms, so that the interval is what the test sets and Y = 64.
class MethodTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = &node_.Add(8ms, 1ms, 500ms);
    model_->traffic.SetBatchTime(10ms, kStart);
  }
  // `rate` items an interval for a while.
  void Feed(int rate, int intervals) {
    for (int i = 0; i < intervals * rate; ++i) {
      model_->traffic.OnArrival(1, now_);
      now_ += Duration(10ms) / rate;
    }
    model_->traffic.AdvanceTo(now_);
  }
  Node node_;
  Node::Model* model_ = nullptr;
  Time now_ = kStart;
  std::unique_ptr<NodePolicy> policy_ = Make("method");
};

TEST_F(MethodTest, TheWindowReachesWhatWaitsPlusTheForecast) {
  Feed(20, 50);
  node_.Wait(0, 3, now_);
  const Decision d = policy_->Decide(node_.View(1), now_);
  EXPECT_FALSE(d.start);
  EXPECT_EQ(policy_->Outlook(0).right_rows, 23);
  EXPECT_EQ(policy_->Outlook(0).left, node_.models[0].lanes[0].oldest_arrival);
  EXPECT_EQ(policy_->Outlook(0).right, d.wake_at);
  EXPECT_EQ(d.wake_at, Time(now_.time_since_epoch() / 10ms * 10ms + 10ms));
}

TEST_F(MethodTest, AChangedForecastMovesTheRightBound) {
  Feed(20, 50);
  node_.Wait(0, 3, now_);
  policy_->Decide(node_.View(1), now_);
  const int64_t before = policy_->Outlook(0).right_rows;
  Feed(40, 1);
  const Decision d = policy_->Decide(node_.View(1), now_ - 10ms);  // the same rows wait
  EXPECT_FALSE(d.start && d.rows > 3);
  EXPECT_GT(policy_->Outlook(0).right_rows, before);
}

TEST_F(MethodTest, WhereNothingIsKnownOfArrivalsTheWindowEndsWithWhatWaits) {
  node_.Wait(0, 3, now_);
  NodeView view = node_.View(1);
  std::vector<ModelView> models(view.models.begin(), view.models.end());
  models[0].traffic = nullptr;
  view.models = models;
  const Decision d = policy_->Decide(view, now_);
  EXPECT_TRUE(d.start);
  EXPECT_EQ(d.rows, 3);
}

TEST_F(MethodTest, ClosesWhenTheRightBoundIsReached) {
  Feed(20, 50);
  node_.Wait(0, 3, now_);
  EXPECT_FALSE(policy_->Decide(node_.View(1), now_).start);
  node_.models[0].lanes[0].waiting_rows = 23;
  const Decision d = policy_->Decide(node_.View(1), now_ + 1ms);
  EXPECT_TRUE(d.start);
  EXPECT_EQ(d.rows, 23);
  EXPECT_EQ(d.reason, CloseReason::kFull);
}

TEST_F(MethodTest, ClosesAtTheIntervalsEndAtTheLatest) {
  Feed(20, 50);
  node_.Wait(0, 3, now_);
  const Decision waits = policy_->Decide(node_.View(1), now_);
  Feed(20, 1);  // as forecast, but of another model's rows, as it were: three wait still
  const Decision d = policy_->Decide(node_.View(1), waits.wake_at);
  EXPECT_TRUE(d.start);
  EXPECT_EQ(d.rows, 3);
  EXPECT_EQ(d.reason, CloseReason::kDeadline);
}

TEST_F(MethodTest, NeverTakesMoreThanTheBestBatch) {
  node_.models[0].lanes[0].max_rows = 16;
  Feed(40, 50);
  node_.Wait(0, 100, now_);
  EXPECT_EQ(policy_->Decide(node_.View(1), now_).rows, 16);
}

TEST_F(MethodTest, DoesNotBatchWhereTheRatioStaysAboveTheThreshold) {
  Node flat;
  flat.Add(100us, 1ms, 500ms);
  flat.Wait(0, 10, kStart);
  EXPECT_EQ(policy_->Decide(flat.View(1), kStart).rows, 1);
}

TEST_F(MethodTest, YOfTheLoadTableTakesThePlaceOfLiveTimes) {
  Feed(40, 50);
  node_.Wait(0, 100, now_);
  node_.views[0].best_batch = 8;
  EXPECT_EQ(policy_->Decide(node_.View(1), now_).rows, 8);
  node_.views[0].best_batch = 1;  // do not batch
  node_.Wait(0, 90, now_ + 1ms);
  EXPECT_EQ(policy_->Decide(node_.View(1), now_ + 1ms).rows, 1);
}

// A2 and A6 under `method`: the class is fixed, and Y the largest batch within the objective.
TEST(MethodClassTest, AModelOfBothClassesIsAGpuTypeTaskAndStaysOne) {
  Node node;
  auto& model = node.Add(1ms, 1ms, 20ms);
  node.AddOnDevice(model, 1, 4ms, 500us);
  node.views[0].device = DeviceClass::kAuto;
  node.Wait(0, 1000, kStart);
  const auto policy = Make("method");
  const Decision d = policy->Decide(node.View(2), kStart);
  ASSERT_TRUE(d.start);
  EXPECT_EQ(d.instance, 1);
  EXPECT_EQ(d.rows, 32);  // 4 + 16 = 20 ms; 64 rows take 36
  model.instances[1].in_flight = 1;
  EXPECT_FALSE(policy->Decide(node.View(2), kStart).start);
  model.instances.pop_back();  // it died: what waits waits for its successor
  EXPECT_FALSE(policy->Decide(node.View(2), kStart).start);
}

// T(n) / (n T(1)) falls from 0.75 at 2 rows to 0.53 at 16.
TEST(MethodRatioTest, TheSettingIsTheThreshold) {
  Node node;
  node.Add(1ms, 1ms, 500ms).lanes.front().max_rows = 16;
  node.Wait(0, 100, kStart);
  for (const auto& [threshold, best] :
       std::vector<std::pair<double, int>>{{1, 16}, {0.8, 16}, {0.55, 16}, {0.52, 1}}) {
    const auto policy = Make("method", {.ratio_threshold = threshold});
    EXPECT_EQ(policy->Decide(node.View(1), kStart).rows, best) << threshold;
  }
}

// The interval ends in 10 ms, the request is to be answered in 15, and with the row that may still come the batch takes 10 to 12.
TEST_F(MethodTest, NoWaitOutlastsADeadline) {
  Feed(20, 50);
  for (int n = 1; n <= 64; n *= 2) model_->curve.Set(n, 8ms + n * 500us, 10ms + n * 500us);
  node_.Wait(0, 3, now_);
  LaneView& lane = model_->lanes.front();
  lane.earliest_deadline = now_ + 15ms;
  const Decision waits = policy_->Decide(node_.View(1), now_);
  EXPECT_FALSE(waits.start);
  EXPECT_EQ(waits.wake_at, now_ + 3ms);
  EXPECT_EQ(policy_->Outlook(0).right, now_ + 3ms);
  const Decision d = policy_->Decide(node_.View(1), now_ + 3ms);
  EXPECT_EQ(d.rows, 3);
  EXPECT_EQ(d.reason, CloseReason::kDeadline);
}

// Without a deadline the objective is one.
TEST_F(MethodTest, NoWaitOutlastsTheObjective) {
  Feed(20, 50);
  node_.views[0].objective = 14ms;
  node_.Wait(0, 3, now_);
  EXPECT_EQ(policy_->Decide(node_.View(1), now_).wake_at, now_ + 2ms);  // T(4) = 12 ms
}

TEST_F(MethodTest, RowsOfAnotherShapeHaveAWindowOfTheirOwn) {
  Feed(20, 50);
  node_.Wait(0, 3, now_);
  LaneView& other = model_->lanes.emplace_back();
  other.waiting_rows = 2;
  other.oldest_arrival = other.newest_arrival = now_ + 1ms;
  other.earliest_deadline = now_ + 13ms;  // T(3) = 11 ms
  const Decision waits = policy_->Decide(node_.View(1), now_ + 1ms);
  EXPECT_FALSE(waits.start);
  EXPECT_EQ(waits.wake_at, now_ + 2ms);
  const Decision d = policy_->Decide(node_.View(1), now_ + 2ms);
  EXPECT_EQ(d.lane, 1);
  EXPECT_EQ(d.rows, 2);
}

}  // namespace
}  // namespace evenkeel::policy
