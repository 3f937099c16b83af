// What a node does with its models, among nodes in one process: orders of plans, copies that break off, departures, and that everything is answered once.
#include "server/node_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/format.h"
#include "server/nodes_test_kit.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr PlanStamp kOld{{0, 10}, 19}, kPlan{{0, 10}, 20}, kNext{{0, 10}, 21};
constexpr PlanStamp kInvented{{int64_t{1} << 62, int64_t{1} << 62}, int64_t{1} << 62};
const std::string kBytes(3'500'000, 'w');  // four pieces

class NodeModelsTest : public testing::Test {
 protected:
  static std::string DigestOf(TestNode& node, const std::string& model) {
    Once<Result<ModelListing>> listing;
    node.models().ListModel(model, listing.function());
    const auto listed = listing.result();
    EXPECT_TRUE(listed.ok()) << listed.status().ToString();
    return listed.ok() ? listed->digest : "";
  }
  static DeployOrder Order(TestNode& from, std::vector<std::string> holders = {"a"}) {
    DeployOrder order;
    order.model = "chat";
    order.digest = DigestOf(from, "chat");
    order.holders = std::move(holders);
    order.why = "a test";
    return order;
  }
  static UndeployOrder Away() {
    UndeployOrder order;
    order.model = "chat";
    order.why = "a test";
    return order;
  }
  static UndeployOrder Away(const PlanStamp& plan) {
    UndeployOrder order = Away();
    order.plan = plan;
    return order;
  }
  static Status Undeploy(TestNode& node, const UndeployOrder& order) {
    Once<Status> done;
    node.models().Undeploy(order, done.function());
    return done.result();
  }
  // Until the order has come so far, or to its end.
  static DeployProgress Await(TestNode& node, const DeployOrder& order,
                              const std::function<bool(const DeployProgress&)>& far) {
    const Time end = SteadyClock::Instance().Now() + 20s;
    DeployProgress progress = node.models().Progress(order.model, order.digest);
    while (!far(progress) && SteadyClock::Instance().Now() < end) {
      std::this_thread::sleep_for(1ms);
      progress = node.models().Progress(order.model, order.digest);
    }
    EXPECT_TRUE(far(progress)) << NameOf(progress.state) << ": " << progress.error;
    return progress;
  }
  static DeployProgress AwaitEnd(TestNode& node, const DeployOrder& order) {
    return Await(node, order, [](const DeployProgress& one) { return IsFinal(one.state); });
  }

  TestNodes nodes_;
};

TEST_F(NodeModelsTest, AnInventedStampIsRefusedAndShutsOutNoTrueOrder) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  b.models().KnowPlan(kPlan);
  DeployOrder order = Order(a);
  order.plan = kInvented;
  const Status refused = b.models().Deploy(order);
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_THAT(refused.message(), HasSubstr(ToText(kInvented)));
  EXPECT_THAT(refused.message(), HasSubstr(ToText(kPlan)));
  EXPECT_EQ(Undeploy(a, Away(kInvented)).code(), Code::kUnavailable);
  EXPECT_TRUE(a.Serves("chat"));
  order.plan = kPlan;
  ASSERT_TRUE(b.models().Deploy(order).ok());
  EXPECT_EQ(AwaitEnd(b, order).state, DeployState::kServing);
}

TEST_F(NodeModelsTest, AnOlderPlansOrdersAreRefusedAndPeoplesAreNot) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  b.Put("chat", kBytes);
  for (TestNode* node : {&a, &b}) {
    node->models().KnowPlan(kPlan);
    node->models().KnowPlan(kOld);  // came late: passed over
  }
  DeployOrder order = Order(a);
  order.plan = kOld;
  EXPECT_EQ(b.models().Deploy(order).code(), Code::kConflict);
  EXPECT_EQ(Undeploy(b, Away(kOld)).code(), Code::kConflict);
  b.models().KnowPlan(kNext);
  EXPECT_EQ(Undeploy(b, Away(kPlan)).code(), Code::kConflict) << "another plan holds now";
  EXPECT_TRUE(b.Serves("chat"));
  EXPECT_TRUE(Undeploy(b, Away()).ok());
  order.plan.reset();
  EXPECT_TRUE(b.models().Deploy(order).ok());
  EXPECT_EQ(AwaitEnd(b, order).state, DeployState::kServing);
}

TEST_F(NodeModelsTest, ADepartureWaitsForThePlanThatWantsItAndNobodyHearsOfItBefore) {
  TestNode& a = nodes_.Add("a", {5ms, 20s});
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  b.Put("chat", kBytes);
  Once<Status> done;
  a.models().Undeploy(Away(kPlan), done.function());
  EXPECT_FALSE(done.Wait(50ms));
  EXPECT_TRUE(a.Figures().leaving.empty());
  EXPECT_EQ(a.Figures().models.size(), 1U);
  a.models().KnowPlan(kPlan);
  EXPECT_TRUE(done.result().ok());
  EXPECT_FALSE(a.Serves("chat"));
  EXPECT_EQ(done.count(), 1);
}

TEST_F(NodeModelsTest, ACopyThatIsCutInTheMiddleGoesOnFromAnotherHolder) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  TestNode& c = nodes_.Add("c");
  a.Put("chat", kBytes);
  b.Put("chat", kBytes);
  a.gives.store(2 * static_cast<int64_t>(kMostPieceBytes));
  const DeployOrder order = Order(a, {"a", "b"});
  ASSERT_TRUE(c.models().Deploy(order).ok());
  const DeployProgress progress = AwaitEnd(c, order);
  EXPECT_EQ(progress.state, DeployState::kServing) << progress.error;
  EXPECT_EQ(progress.from, "b");
  EXPECT_EQ(progress.bytes_done, kBytes.size());
  EXPECT_EQ(progress.bytes_fetched, kBytes.size()) << "no byte comes twice";
  EXPECT_EQ(c.folder().Read("models/chat/model.onnx"), kBytes);
  EXPECT_EQ(c.loads.load(), 1);
}

TEST_F(NodeModelsTest, ACopyThatIsCutByAnEndIsResumedByTheNextServer) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  a.gives.store(2 * static_cast<int64_t>(kMostPieceBytes));
  const DeployOrder order = Order(a);
  ASSERT_TRUE(b.models().Deploy(order).ok());
  Await(b, order, [](const DeployProgress& one) { return one.bytes_done >= 2 * kMostPieceBytes; });
  EXPECT_EQ(b.models().Progress("chat", order.digest).state, DeployState::kCopying);
  EXPECT_FALSE(b.Has("chat")) << "the models folder never holds part of a model";
  b.models().Stop();
  b.Start({});
  EXPECT_EQ(b.models().Progress("chat", order.digest).state, DeployState::kUnknown);
  a.gives.store(int64_t{1} << 40);
  a.reachable.store(true);
  ASSERT_TRUE(b.models().Deploy(order).ok());
  const DeployProgress progress = AwaitEnd(b, order);
  EXPECT_EQ(progress.state, DeployState::kServing) << progress.error;
  EXPECT_EQ(progress.bytes_resumed, 2 * kMostPieceBytes);
  EXPECT_EQ(progress.bytes_fetched, kBytes.size() - 2 * kMostPieceBytes);
  EXPECT_EQ(b.folder().Read("models/chat/model.onnx"), kBytes);
}

TEST_F(NodeModelsTest, ANodeThatStopsGivesTheCopyUpAtOnce) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  a.gives.store(static_cast<int64_t>(kMostPieceBytes));
  const DeployOrder order = Order(a);
  ASSERT_TRUE(b.models().Deploy(order).ok());
  Await(b, order, [](const DeployProgress& one) { return one.bytes_done >= kMostPieceBytes; });
  b.models().Stop();
  EXPECT_EQ(AwaitEnd(b, order).state, DeployState::kFailed);
  EXPECT_EQ(b.models().Deploy(order).code(), Code::kUnavailable);
}

TEST_F(NodeModelsTest, TheSameOrderTwiceIsOneAndAnotherContentIsRefused) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  const DeployOrder order = Order(a);
  b.hold_loads.store(true);
  std::vector<std::thread> threads;
  std::atomic<int> taken{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { taken.fetch_add(b.models().Deploy(order).ok() ? 1 : 0); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken.load(), 8);
  Await(b, order, [](const DeployProgress& one) { return one.state == DeployState::kLoading; });
  DeployOrder other = order;
  other.digest = std::string(64, 'f');
  const Status refused = b.models().Deploy(other);
  EXPECT_EQ(refused.code(), Code::kConflict);
  EXPECT_THAT(refused.message(), HasSubstr(order.digest));
  EXPECT_THAT(refused.message(), HasSubstr(other.digest));
  EXPECT_EQ(Undeploy(b, Away()).code(), Code::kConflict) << "it is on its way here";
  b.ReleaseLoads();
  EXPECT_EQ(AwaitEnd(b, order).state, DeployState::kServing);
  EXPECT_EQ(b.loads.load(), 1);
}

TEST_F(NodeModelsTest, TheLastReplicaStaysUnlessThatIsSaid) {
  TestNode& a = nodes_.Add("a");
  nodes_.Add("b");
  a.Put("chat", kBytes);
  for (const bool files : {true, false}) {
    UndeployOrder order = Away();
    order.remove_files = files;
    const Status refused = Undeploy(a, order);
    EXPECT_EQ(refused.code(), Code::kConflict) << refused.ToString();
    EXPECT_TRUE(a.Serves("chat") && a.Has("chat"));
    EXPECT_TRUE(a.Figures().leaving.empty()) << "it is told as served again";
  }
  UndeployOrder order = Away();
  order.force = true;
  EXPECT_TRUE(Undeploy(a, order).ok());
  EXPECT_FALSE(a.Serves("chat") || a.Has("chat"));
}

TEST_F(NodeModelsTest, FilesStayWhereOnlyUnloadingIsAskedFor) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  b.Put("chat", kBytes);
  UndeployOrder order = Away();
  order.remove_files = false;
  EXPECT_TRUE(Undeploy(a, order).ok());
  EXPECT_FALSE(a.Serves("chat"));
  EXPECT_TRUE(a.Has("chat"));
}

TEST_F(NodeModelsTest, OfTwoThatAreAskedAtOnceOneKeepsTheModel) {
  TestNode& a = nodes_.Add("a", {3s, 20ms});
  TestNode& b = nodes_.Add("b", {3s, 20ms});
  a.Put("chat", kBytes);
  b.Put("chat", kBytes);
  Once<Status> first, second;
  a.models().Undeploy(Away(), first.function());
  b.models().Undeploy(Away(), second.function());
  EXPECT_EQ(first.result().code(), Code::kConflict) << "the first by name keeps it";
  EXPECT_TRUE(second.result().ok()) << second.result().ToString();
  EXPECT_TRUE(a.Serves("chat"));
  EXPECT_FALSE(b.Serves("chat"));
}

TEST_F(NodeModelsTest, WhatLeavesIsNotDeployedMeanwhile) {
  TestNode& a = nodes_.Add("a", {3s, 20ms});
  TestNode& b = nodes_.Add("b");
  a.Put("chat", kBytes);
  b.Put("chat", kBytes);
  const DeployOrder order = Order(b, {"b"});
  Once<Status> done;
  a.models().Undeploy(Away(), done.function());
  EXPECT_EQ(a.models().Deploy(order).code(), Code::kConflict);
  EXPECT_EQ(Undeploy(a, Away()).code(), Code::kConflict) << "it is being taken away already";
  EXPECT_TRUE(done.result().ok());
  EXPECT_TRUE(a.models().Deploy(order).ok());
  EXPECT_EQ(AwaitEnd(a, order).state, DeployState::kServing);
}

// Has whoever comes wait until so many are there at once.
class Meeting {
 public:
  explicit Meeting(int wanted) : wanted_(wanted) {}
  void Join() {
    std::unique_lock lock(mutex_);
    most_ = std::max(most_, ++here_);
    met_ = met_ || here_ >= wanted_;
    changed_.notify_all();
    changed_.wait_for(lock, 20s, [this] { return met_; });
    --here_;
  }
  bool met() const {
    const std::lock_guard lock(mutex_);
    return met_;
  }
  int most() const {
    const std::lock_guard lock(mutex_);
    return most_;
  }

 private:
  const int wanted_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int here_ = 0, most_ = 0;
  bool met_ = false;
};

TEST_F(NodeModelsTest, SoManyModelsLeaveSideBySideAndNoMore) {
  TestNode& a = nodes_.Add("a");
  TestNode& b = nodes_.Add("b");
  Meeting meeting(static_cast<int>(NodeModels::kMostDepartures));
  a.on_unload = [&] { meeting.Join(); };
  std::vector<Once<Status>> departures(3 * NodeModels::kMostDepartures);
  for (size_t i = 0; i < departures.size(); ++i) {
    UndeployOrder order = Away();
    order.model = fmt::format("m{}", i);
    a.Put(order.model, "bytes");
    b.Put(order.model, "bytes");
    a.models().Undeploy(order, departures[i].function());
  }
  for (const auto& departure : departures)
    EXPECT_TRUE(departure.result().ok()) << departure.result().ToString();
  EXPECT_TRUE(meeting.met());
  EXPECT_LE(meeting.most(), static_cast<int>(NodeModels::kMostDepartures));
}

TEST_F(NodeModelsTest, DeparturesBeyondWhatMayWaitAreRefused) {
  TestNode& a = nodes_.Add("a", {1h, 20ms});
  std::vector<Once<Status>> departures(NodeModels::kMostWaiting);
  for (size_t i = 0; i < departures.size(); ++i) {
    UndeployOrder order = Away();
    order.model = fmt::format("m{}", i);
    a.models().Undeploy(order, departures[i].function());
  }
  EXPECT_EQ(Undeploy(a, Away()).code(), Code::kOverloaded);
  a.models().Stop();
  for (const auto& departure : departures) EXPECT_EQ(departure.result().code(), Code::kUnavailable);
}

TEST_F(NodeModelsTest, ANodeThatStopsAnswersEverythingOnce) {
  TestNode& a = nodes_.Add("a", {1h, 1h});
  TestNode& b = nodes_.Add("b");
  std::vector<Once<Status>> departures(20);
  for (size_t i = 0; i < departures.size(); ++i) {
    UndeployOrder order = Away();
    order.model = fmt::format("m{}", i);
    a.Put(order.model, "bytes");
    b.Put(order.model, "bytes");
    if (i % 3 == 0) order.plan = kPlan;  // not known here
    a.models().Undeploy(order, departures[i].function());
  }
  std::vector<Once<Result<ModelListing>>> lists(10);
  for (auto& list : lists) a.models().ListModel("m1", list.function());
  a.models().Stop();
  for (const auto& departure : departures) EXPECT_EQ(departure.result().code(), Code::kUnavailable);
  for (const auto& list : lists) EXPECT_TRUE(list.Wait());
  Once<Status> late;
  a.models().Undeploy(Away(), late.function());
  EXPECT_EQ(late.result().code(), Code::kUnavailable);
  for (const auto& departure : departures) EXPECT_EQ(departure.count(), 1);
  for (const auto& list : lists) EXPECT_EQ(list.count(), 1);
  EXPECT_EQ(a.unloads.load(), 0);
}

}  // namespace
}  // namespace evenkeel
