#include "batching/policy/node_policy.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "batching/policy/fake_node.h"
#include "batching/policy/gate.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

bool IsGated(std::string_view name) {
  return name == "auto" || name == "gated-greedy" || name == "oracle";
}

TEST(NodePolicyTest, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const auto policy = MakeNodePolicy("clever");
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), Code::kInvalidArgument);
  EXPECT_NE(policy.status().message().find("gated-greedy"), std::string::npos);
}

TEST(NodePolicyTest, EveryPolicyKnowsItsName) {
  for (const std::string_view name : NodePolicyNames()) EXPECT_EQ(Make(name)->name(), name);
}

// What the header promises of every decision, over histories of arrivals and completions.
RC_GTEST_PROP(NodePolicyProperty, EveryStartIsPossibleAndEveryWaitEnds, ()) {
  const std::string name(*rc::gen::elementOf(
      std::vector<std::string_view>(NodePolicyNames().begin(), NodePolicyNames().end())));
  const auto policy = Make(name);
  Node node;
  const int cores = *rc::gen::inRange(1, 4);
  for (int i = *rc::gen::inRange(1, 5); i > 0; --i) {
    auto& model = node.Add(*rc::gen::inRange(1, 2000) * 1us, *rc::gen::inRange(1, 500) * 1us,
                           *rc::gen::inRange(5, 100) * 1ms);
    model.instances.resize(static_cast<size_t>(*rc::gen::inRange(1, 3)));
    for (InstanceView& instance : model.instances) instance.threads = *rc::gen::inRange(1, 4);
    model.lanes.front().max_rows = *rc::gen::inRange(1, 65);
    // Instances of both classes, whatever the manifest says: those of the wrong one must be left alone.
    node.views.back().device =
        *rc::gen::element(DeviceClass::kCpu, DeviceClass::kGpu, DeviceClass::kAuto);
    node.AddOnDevice(model, *rc::gen::inRange(0, 3), *rc::gen::inRange(1, 2000) * 1us,
                     *rc::gen::inRange(1, 500) * 1us);
    if (*rc::gen::inRange(0, 4) == 0) model.instances.erase(model.instances.begin());
  }
  Time now = kStart;
  Time wake = kNever;
  std::vector<std::optional<DeviceClass>> classes(node.models.size());
  for (int step = 0; step < 100; ++step) {
    now += *rc::gen::inRange(0, 3000) * 1us;
    if (wake != kNever) now = std::min(now, wake);
    const auto m =
        static_cast<size_t>(*rc::gen::inRange<int>(0, static_cast<int>(node.models.size())));
    auto& model = node.models[m];
    if (*rc::gen::inRange(0, 3) > 0) {
      const int rows = *rc::gen::inRange(1, 5);
      model.traffic.OnArrival(rows, now);
      LaneView& lane = model.lanes.front();
      if (lane.waiting_rows == 0) lane.oldest_arrival = now;
      lane.newest_arrival = now;
      lane.waiting_rows += rows;
    } else {
      for (InstanceView& instance : model.instances) instance.in_flight = 0;
    }
    for (;;) {
      const Decision d = policy->Decide(node.View(cores), now);
      if (!d.start) {
        RC_ASSERT(d.wake_at > now);
        wake = d.wake_at;
        break;
      }
      auto& chosen = node.models.at(static_cast<size_t>(d.model));
      LaneView& lane = chosen.lanes.at(static_cast<size_t>(d.lane));
      InstanceView& instance = chosen.instances.at(static_cast<size_t>(d.instance));
      RC_ASSERT(instance.usable);
      RC_ASSERT(instance.in_flight == 0);
      RC_ASSERT(d.rows >= 1);
      RC_ASSERT(d.rows <= std::min<int64_t>(lane.waiting_rows, lane.max_rows));
      RC_ASSERT(Allows(node.views[static_cast<size_t>(d.model)], instance.device));
      const bool gpu = instance.device == DeviceClass::kGpu;
      instance.in_flight = 1;
      instance.busy_until =
          now + (gpu ? chosen.device_curve : chosen.curve).Mean(static_cast<int>(d.rows));
      // `method` fixes the class before anything runs, also where the manifest does not.
      if (name == "method") {
        auto& seen = classes[static_cast<size_t>(d.model)];
        RC_ASSERT(!seen || *seen == instance.device);
        seen = instance.device;
      }
      lane.waiting_rows -= d.rows;
      if (IsGated(name)) RC_ASSERT(ThreadsInUse(node.View(cores)) <= cores);
    }
    // Without a wake-up nobody may wait while an instance that could serve it is idle and all cores are free.
    if (wake == kNever && ThreadsInUse(node.View(cores)) == 0) {
      for (size_t i = 0; i < node.models.size(); ++i) {
        const auto idle = [&](const InstanceView& one) {
          return one.in_flight == 0 && Allows(node.views[i], one.device);
        };
        if (!std::ranges::all_of(node.models[i].instances, idle)) continue;
        if (name == "method" && node.views[i].device == DeviceClass::kAuto) continue;
        const bool any = std::ranges::any_of(node.models[i].instances, idle);
        RC_ASSERT(!any || node.models[i].lanes.front().waiting_rows == 0);
      }
    }
  }
}

TEST(GateTest, CountsAWideInstanceAsAllCoresAtMost) {
  Node node;
  node.Add(1ms, 1ms, 50ms).instances.front() = {true, 8, 1, {}};
  EXPECT_EQ(ThreadsInUse(node.View(4)), 4);
}

TEST(GateTest, TheLargestAgeOverObjectiveGoesFirst) {
  Node node;
  node.Add(1ms, 1ms, 100ms);
  node.Add(1ms, 1ms, 20ms);
  node.Wait(0, 1, kStart - 30ms);  // 0.3
  node.Wait(1, 1, kStart - 8ms);   // 0.4
  EXPECT_EQ(Make("gated-greedy")->Decide(node.View(1), kStart).model, 1);
}

TEST(GateTest, NothingStartsWithoutAFreeCore) {
  Node node;
  node.Add(1ms, 1ms, 50ms);
  node.Add(1ms, 1ms, 50ms).instances.front().in_flight = 1;
  node.Wait(0, 5, kStart - 40ms);
  EXPECT_FALSE(Make("gated-greedy")->Decide(node.View(1), kStart).start);
  EXPECT_TRUE(Make("gated-greedy")->Decide(node.View(2), kStart).start);
}

TEST(GateTest, CoresAreKeptForAWideInstanceThatHasWaitedLong) {
  Node node;
  node.Add(1ms, 1ms, 100ms).instances.front().threads = 2;
  node.Add(1ms, 1ms, 100ms);
  node.Add(1ms, 1ms, 100ms).instances.front().in_flight = 1;
  node.Wait(1, 1, kStart - 1ms);
  node.Wait(0, 1, kStart - 10ms);  // not yet: others may pass
  EXPECT_EQ(Make("gated-greedy")->Decide(node.View(2), kStart).model, 1);
  node.Wait(0, 1, kStart - 30ms);
  EXPECT_FALSE(Make("gated-greedy")->Decide(node.View(2), kStart).start);
}

TEST(AutoTest, TakesWhatWaitsAtOnceWhileCoresWouldIdle) {
  Node node;
  auto& model = node.Add(1ms, 10us, 50ms);
  Time now = kStart;
  for (int i = 0; i < 100; ++i) model.traffic.OnArrival(1, now += 10ms);
  node.Wait(0, 1, now);
  const Decision d = Make("auto")->Decide(node.View(2), now);
  EXPECT_TRUE(d.start);
  EXPECT_EQ(d.reason, CloseReason::kIdle);
}

TEST(AutoTest, WaitsForItsTargetWhenPowerIsToBeSaved) {
  Node node;
  auto& model = node.Add(1ms, 10us, 50ms);
  Time now = kStart;
  for (int i = 0; i < 2000; ++i) model.traffic.OnArrival(1, now += 1ms);
  node.Wait(0, 1, now);
  node.View(2);
  node.view.save_power = true;
  const auto policy = Make("auto");
  const Decision d = policy->Decide(node.view, now);
  EXPECT_FALSE(d.start);
  EXPECT_GT(d.wake_at, now + 1ms);
  node.Wait(0, policy->Outlook(0).target, now);
  node.View(2);
  EXPECT_TRUE(policy->Decide(node.view, now).start);
}

// What a model wanted so far says nothing of what it may have once it wants more: its first burst beside a flood is not refused.
TEST(AutoTest, AModelThatHardlyAskedCanCountOnAShareBesideAFlood) {
  Node node;
  auto& flooded = node.Add(0us, 10ms, 50ms);
  auto& rare = node.Add(0us, 1ms, 50ms);
  for (Node::Model* model : {&flooded, &rare}) model->instances.resize(2);
  const auto policy = Make("auto");
  Time now = kStart;
  for (int i = 0; i < 4000; ++i) {
    flooded.traffic.OnArrival(1, now += 1ms);
    if (i % 1000 == 999) rare.traffic.OnArrival(1, now);
    node.Wait(0, 50, now);
    policy->Decide(node.View(2), now);
  }
  EXPECT_GT(policy->Outlook(0).stretch, 1);
  EXPECT_LE(policy->Outlook(1).stretch, 2.01);  // an even share: one of the two cores
}

TEST(AutoTest, RowsThatAreHeldDoNotHideThoseOfAnotherShape) {
  Node node;
  auto& model = node.Add(1ms, 10us, 50ms);
  model.lanes.emplace_back();
  Time now = kStart;
  for (int i = 0; i < 2000; ++i) model.traffic.OnArrival(1, now += 1ms);
  node.Wait(0, 1, now - 100us);
  node.View(2);
  node.view.save_power = true;
  const auto policy = Make("auto");
  ASSERT_FALSE(policy->Decide(node.view, now).start);
  LaneView& other = model.lanes.back();
  other.waiting_rows = policy->Outlook(0).target;
  other.oldest_arrival = other.newest_arrival = now;
  node.View(2);
  const Decision d = policy->Decide(node.view, now);
  EXPECT_TRUE(d.start);
  EXPECT_EQ(d.lane, 1);
}

TEST(AutoTest, AModelThatTakesAllCoresKeepsToTheShortestObjective) {
  Node node;
  auto& wide = node.Add(1ms, 900us, 100ms);
  wide.instances.front().threads = 2;
  node.Add(200us, 20us, 20ms);
  node.Wait(0, 64, kStart - 40ms);  // far behind
  const Decision d = Make("auto")->Decide(node.View(2), kStart);
  EXPECT_LE(wide.curve.Mean(static_cast<int>(d.rows)), 5ms);  // a quarter of 20 ms
}

// A quarter of the objective holds 45 rows at 278 us each; 64 rows take 14.4 ms, 225 us each: who can't keep up needs them.
TEST(AutoTest, OnASlowMachineAModelThatFallsBehindTakesWhatIsMuchCheaper) {
  for (const bool behind : {false, true}) {
    Node node;
    node.Add(8ms, 100us, 50ms);
    node.Wait(0, 64, behind ? kStart - 15ms : kStart - 1ms);
    const Decision d = Make("auto")->Decide(node.View(2), kStart);
    ASSERT_TRUE(d.start);
    if (behind) {
      EXPECT_GE(d.rows, 60);
    } else {
      EXPECT_LE(d.rows, 45);
    }
  }
}

// Another's objective is not to suffer: 14.4 ms are too long beside one of 20 ms.
TEST(AutoTest, WhatIsMuchCheaperIsNotTakenWhereItHoldsUpOthers) {
  Node node;
  node.Add(8ms, 100us, 50ms);
  node.Add(1ms, 10us, 20ms);
  node.Wait(0, 64, kStart - 15ms);
  const Decision d = Make("auto")->Decide(node.View(2), kStart);
  ASSERT_TRUE(d.start);
  EXPECT_LE(d.rows, 45);
}

TEST(AutoTest, AModelThatBatchingDoesNotHelpIsRunRowByRow) {
  Node node;
  node.Add(10us, 3ms, 100ms);
  node.Add(10us, 3ms, 20ms);
  node.Wait(0, 10, kStart - 1ms);
  const Decision d = Make("auto")->Decide(node.View(2), kStart);
  EXPECT_EQ(d.rows, 1);
  EXPECT_EQ(d.reason, CloseReason::kFull);
}

TEST(AutoTest, WhatGainsLittleIsBatchedOnceItCannotKeepUpRowByRow) {
  // 267 us a row, 255.2 in batches of 64.
  const auto rows = [](double rate_rps, Duration age) {
    Node node;
    auto& model = node.Add(12us, 255us, 50ms);
    const auto gap = Duration(static_cast<int64_t>(1e9 / rate_rps));
    Time now = kStart;
    for (int i = 0; i < static_cast<int>(3 * rate_rps); ++i) model.traffic.OnArrival(1, now += gap);
    node.Wait(0, 10, now - age);
    return Make("auto")->Decide(node.View(1), now).rows;
  };
  EXPECT_EQ(rows(1000, 1ms), 1);
  EXPECT_EQ(rows(3000, 1ms), 1);   // 0.8 of a core
  EXPECT_EQ(rows(3500, 1ms), 8);   // 0.93 row by row; 8 are within half a percent of the best
  EXPECT_EQ(rows(1000, 15ms), 8);  // a quarter of the objective has gone
}

TEST(AutoTest, StartsWithWhatWaitsWhileNothingIsKnownOfT) {
  Node node;
  node.Add(1ms, 1ms, 50ms).curve = BatchCurve();
  node.Wait(0, 7, kStart);
  EXPECT_EQ(Make("auto")->Decide(node.View(2), kStart).rows, 7);
}

TEST(AutoTest, AnAcceleratorStartsWhateverRunsOnTheCores) {
  Node node;
  auto& model = node.Add(1ms, 1ms, 50ms);
  node.AddOnDevice(model, 1, 1ms, 10us);
  model.instances.erase(model.instances.begin());
  node.views[0].device = DeviceClass::kGpu;
  node.Add(1ms, 1ms, 50ms).instances.front().in_flight = 1;
  node.Wait(0, 5, kStart);
  node.Wait(1, 5, kStart - 40ms);
  for (const char* name : {"auto", "gated-greedy"}) {
    const Decision d = Make(name)->Decide(node.View(1), kStart);
    EXPECT_TRUE(d.start) << name;
    EXPECT_EQ(d.model, 0) << name;
    EXPECT_EQ(d.rows, 5) << name;
  }
}

TEST(AutoTest, OverflowsToTheOtherClassUnderLoadAndNotWithout) {
  Node node;
  auto& model = node.Add(5ms, 1ms, 400ms);
  node.AddOnDevice(model, 1, 4ms, 100us);
  node.views[0].device = DeviceClass::kAuto;
  const auto policy = Make("auto");
  node.Wait(0, 2, kStart);
  Decision d = policy->Decide(node.View(2), kStart);
  EXPECT_EQ(d.instance, 1);
  EXPECT_TRUE(policy->Outlook(0).device_first);
  model.instances[1].in_flight = 1;
  model.instances[1].busy_until = kStart + 1ms;
  d = policy->Decide(node.View(2), kStart);
  EXPECT_FALSE(d.start);               // 1 + 4.2 ms there, 7 ms here
  EXPECT_GT(d.wake_at, kStart + 1ms);  // to see whether it has become late
  node.Wait(0, 2000, kStart);
  d = policy->Decide(node.View(2), kStart);
  EXPECT_EQ(d.instance, 0);
  EXPECT_EQ(d.rows, policy->Outlook(0).knee);
}

TEST(FixedTest, WaitsForItsDelayOrItsSize) {
  Node node;
  node.Add(1ms, 1ms, 50ms).lanes.front().max_rows = 8;
  node.views[0].max_delay = 5ms;
  const auto policy = Make("fixed");
  node.Wait(0, 3, kStart);
  EXPECT_EQ(policy->Decide(node.View(1), kStart).wake_at, kStart + 5ms);
  EXPECT_EQ(policy->Decide(node.View(1), kStart + 5ms).reason, CloseReason::kDeadline);
  node.Wait(0, 8, kStart);
  EXPECT_EQ(policy->Decide(node.View(1), kStart).reason, CloseReason::kFull);
}

// Two models that share a core; T(n) = 1 ms + n / 2, and 8 ms for each row. While one waits for its target the other's batch may come between, and then it is late.
class GuardedTest : public ::testing::Test {
 protected:
  GuardedTest() {
    for (int m = 0; m < 2; ++m) node_.Add(1ms, 500us, 8ms);
  }
  // 733 rows a second, of both models by turns, at random times, each answered at once; the price at the end.
  double Run(Duration length) {
    for (const Time end = now_ + length; now_ < end;) {
      const double u = (static_cast<double>(random_()) + 1) / 4294967296.0;
      now_ += Duration(static_cast<int64_t>(-std::log(u) / 733 * 1e9) + 1);
      Node::Model& model = node_.models[static_cast<size_t>(++turn_ % 2)];
      model.traffic.OnArrival(1, now_);
      policy_->Decide(node_.View(1), now_);
      const bool on = policy_->Outlook(0).guarded;
      if (on && !guarded_since_) guarded_since_ = now_;
      if (!on && guarded_since_ && !over_) over_ = now_;
      if (on) {
        EXPECT_EQ(policy_->Outlook(0).price, 0);
      }
    }
    return policy_->Outlook(0).price;
  }
  std::mt19937 random_{3};
  Node node_;
  Time now_ = kStart;
  int turn_ = 0;
  std::optional<Time> guarded_since_, over_;
  std::unique_ptr<NodePolicy> policy_ = Make("auto");
};

TEST_F(GuardedTest, ThePriceIsZeroForHalfAMinuteWhereWaitingCostsObjectives) {
  EXPECT_GT(Run(600ms), 0);
  Run(15s);
  ASSERT_TRUE(guarded_since_.has_value());
  Run(45s);
  ASSERT_TRUE(over_.has_value());
  EXPECT_GE(*over_ - *guarded_since_, 29s);
  EXPECT_LE(*over_ - *guarded_since_, 31s);
}

}  // namespace
}  // namespace evenkeel::policy
