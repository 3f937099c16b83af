// Models on several nodes, for who asked one of them: nodes in one process, each with its files, copies and departures.
#include "server/cluster_deploys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/format.h"
#include "server/nodes_test_kit.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr PlanStamp kPlan{{0, 10}, 20};
const std::string kBytes(1'500'000, 'w');

OrderedBy By(const PlanStamp& stamp) {
  return {/*plan=*/true, PlanMark{stamp.term.history, stamp.term.revision, stamp.revision}};
}

class ClusterDeploysTest : public testing::Test {
 protected:
  // `a` is asked.
  void Open(TestNode::Waits waits = {}) {
    a_ = &nodes_.Add("a", waits);
    b_ = &nodes_.Add("b", waits);
    c_ = &nodes_.Add("c", waits);
    ClusterDeploys::Cluster cluster;
    cluster.look = [this] { return nodes_.Look("a"); };
    cluster.link_to = [this](const std::string& node) { return nodes_.LinkTo(node); };
    cluster.asked = [this](const std::string& model, int replicas) {
      const std::lock_guard lock(mutex_);
      asked_.emplace_back(model, replicas);
    };
    deploys_ = std::make_unique<ClusterDeploys>(std::move(cluster), a_->models(), a_->events(),
                                                SteadyClock::Instance());
  }
  ~ClusterDeploysTest() override {
    // As ClusterNode::Stop(): what a departure waits for ends first.
    for (TestNode* node : {a_, b_, c_}) {
      if (node != nullptr) node->models().Stop();
    }
    deploys_.reset();
  }
  Result<json> Deploy(const DeployRequest& request) {
    Once<Result<json>> done;
    deploys_->Deploy(request, done.function());
    return done.result();
  }
  Result<json> Undeploy(const UndeployRequest& request) {
    Once<Result<json>> done;
    deploys_->Undeploy(request, done.function());
    return done.result();
  }
  struct End {
    std::string state, error;
  };
  // Of a node's part of a deployment.
  End AwaitEnd(const Result<json>& begun, const std::string& node) {
    EXPECT_TRUE(begun.ok()) << begun.status().ToString();
    if (!begun.ok()) return {};
    const Time end = SteadyClock::Instance().Now() + 20s;
    while (SteadyClock::Instance().Now() < end) {
      const json all = deploys_->Describe();
      for (const json& one : all.at("deploys")) {
        if (one.at("id").get<uint64_t>() != begun->at("id").get<uint64_t>()) continue;
        for (const json& target : one.at("nodes")) {
          const End now{target.at("state").get<std::string>(),
                        target.at("error").get<std::string>()};
          const bool final = now.state == "serving" || now.state == "failed";
          if (final && target.at("node").get<std::string>() == node) return now;
        }
      }
      std::this_thread::sleep_for(5ms);
    }
    ADD_FAILURE() << "node " << node << " comes to no end";
    return {};
  }
  std::vector<std::pair<std::string, int>> Asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

  TestNodes nodes_;
  TestNode *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
  std::mutex mutex_;  // guards what follows
  std::vector<std::pair<std::string, int>> asked_;
  std::unique_ptr<ClusterDeploys> deploys_;
};

TEST_F(ClusterDeploysTest, AModelGoesFromWhereItIsToAllNodes) {
  Open();
  b_->Put("chat", kBytes);
  const auto begun = Deploy({"chat", {}});
  ASSERT_TRUE(begun.ok()) << begun.status().ToString();
  for (const char* node : {"a", "b", "c"}) EXPECT_EQ(AwaitEnd(begun, node).state, "serving");
  EXPECT_EQ(a_->folder().Read("models/chat/model.onnx"), kBytes);
  EXPECT_EQ(c_->folder().Read("models/chat/model.onnx"), kBytes);
  EXPECT_EQ(b_->loads.load(), 0) << "it serves there already";
  EXPECT_THAT(Asked(), ElementsAre(Pair("chat", 3)));
}

TEST_F(ClusterDeploysTest, WhatCannotBeIsSaidAtOnce) {
  Open();
  b_->Put("chat", kBytes);
  EXPECT_EQ(Deploy({"nothing", {}}).status().code(), Code::kNotFound);
  EXPECT_EQ(Deploy({"../chat", {}}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Deploy({"chat", {"nobody"}}).status().code(), Code::kNotFound);
  EXPECT_EQ(Undeploy({"chat", {"nobody"}}).status().code(), Code::kNotFound);
  EXPECT_TRUE(deploys_->Describe().at("deploys").empty());
  EXPECT_TRUE(Asked().empty());
}

TEST_F(ClusterDeploysTest, TwoContentsOfOneNameAreRefusedWithBoth) {
  Open();
  a_->Put("chat", kBytes);
  b_->Put("chat", "other bytes");
  const auto refused = Deploy({"chat", {"c"}});
  EXPECT_EQ(refused.status().code(), Code::kConflict);
  EXPECT_THAT(refused.status().message(), HasSubstr("on node 'a'"));
  EXPECT_THAT(refused.status().message(), HasSubstr("on node 'b'"));
  EXPECT_FALSE(c_->Has("chat"));
}

TEST_F(ClusterDeploysTest, AnInventedStampIsRefusedWithWhatWasExpectedAndTheTruePlanGoesOn) {
  Open();
  a_->Put("chat", kBytes);
  for (TestNode* node : {a_, b_, c_}) node->models().KnowPlan(kPlan);
  constexpr PlanStamp kInvented{{0, 1'000'000}, 2'000'000};
  DeployRequest request{"chat", {"b"}};
  request.by = By(kInvented);
  UndeployRequest away{"chat", {"a"}};
  away.force = true;
  away.by = By(kInvented);
  for (const Status& refused : {Deploy(request).status(), Undeploy(away).status()}) {
    EXPECT_EQ(refused.code(), Code::kConflict);
    EXPECT_THAT(refused.message(), HasSubstr(ToText(kInvented)));
    EXPECT_THAT(refused.message(), HasSubstr(ToText(kPlan)));
  }
  EXPECT_TRUE(a_->Serves("chat"));
  request.by = By(kPlan);
  const auto begun = Deploy(request);
  ASSERT_TRUE(begun.ok()) << begun.status().ToString();
  EXPECT_EQ(AwaitEnd(begun, "b").state, "serving");
  EXPECT_TRUE(Asked().empty()) << "a plan says nothing of what people want";
}

TEST_F(ClusterDeploysTest, APlanThatWasStoredAMomentAgoIsWaitedForAtEveryNode) {
  Open({5ms, 20s});
  a_->Put("chat", kBytes);
  DeployRequest request{"chat", {"b"}};
  request.by = By(kPlan);
  Once<Result<json>> begun;
  deploys_->Deploy(request, begun.function());
  EXPECT_FALSE(begun.Wait(50ms));
  a_->models().KnowPlan(kPlan);
  const auto result = begun.result();
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  // The other node has not read it yet: it refuses, and is asked again.
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(b_->Has("chat"));
  b_->models().KnowPlan(kPlan);
  EXPECT_EQ(AwaitEnd(result, "b").state, "serving");
}

TEST_F(ClusterDeploysTest, APlanThatIsNotKnownYetHoldsUpNoOtherRequest) {
  Open({5ms, 1h});
  a_->Put("chat", kBytes);
  DeployRequest planned{"chat", {"b"}};
  planned.by = By(kPlan);
  UndeployRequest away{"chat", {"a"}};
  away.keep_files = true;
  away.by = By(kPlan);
  Once<Result<json>> comes, goes;
  deploys_->Deploy(planned, comes.function());
  deploys_->Undeploy(away, goes.function());
  const auto other = Deploy({"chat", {"c"}});
  ASSERT_TRUE(other.ok()) << other.status().ToString();
  EXPECT_EQ(AwaitEnd(other, "c").state, "serving");
  EXPECT_EQ(comes.count() + goes.count(), 0);
  for (TestNode* node : {a_, b_, c_}) node->models().KnowPlan(kPlan);
  const auto begun = comes.result();
  ASSERT_TRUE(begun.ok()) << begun.status().ToString();
  EXPECT_EQ(AwaitEnd(begun, "b").state, "serving");
  EXPECT_TRUE(goes.result().ok()) << goes.result().status().ToString();
  EXPECT_FALSE(a_->Serves("chat"));
  EXPECT_EQ(comes.count(), 1);
  EXPECT_EQ(goes.count(), 1);
}

TEST_F(ClusterDeploysTest, SoManyWaitForTheirPlansAndEachIsAnsweredOnceWhenTheNodeStops) {
  Open({5ms, 1h});
  a_->Put("chat", kBytes);
  DeployRequest planned{"chat", {"b"}};
  planned.by = By(kPlan);
  UndeployRequest away{"chat", {"a"}};
  away.by = By(kPlan);
  std::vector<Once<Result<json>>> done(ClusterDeploys::kMostParked);
  for (size_t i = 0; i < done.size(); ++i) {
    i % 2 == 0 ? deploys_->Deploy(planned, done[i].function())
               : deploys_->Undeploy(away, done[i].function());
  }
  EXPECT_EQ(Deploy(planned).status().code(), Code::kOverloaded);
  EXPECT_TRUE(Deploy({"chat", {"c"}}).ok()) << "what people ask for waits for no plan";
  for (const auto& one : done) EXPECT_EQ(one.count(), 0);
  for (TestNode* node : {a_, b_, c_}) node->models().Stop();
  deploys_->Stop();
  for (const auto& one : done) {
    EXPECT_EQ(one.result().status().code(), Code::kUnavailable);
    EXPECT_EQ(one.count(), 1);
  }
  EXPECT_TRUE(a_->Serves("chat"));
}

TEST_F(ClusterDeploysTest, ANodeThatDoesNotAnswerHoldsUpOnlyWhatNeedsAllOfThem) {
  Open();
  a_->Put("chat", kBytes);
  c_->reachable.store(false);
  Once<Result<json>> begun;
  deploys_->Deploy({"chat", {"c"}}, begun.function());
  EXPECT_EQ(Undeploy({"chat", {"nobody"}}).status().code(), Code::kNotFound);
  EXPECT_EQ(begun.count(), 0);
  c_->reachable.store(true);
  const auto result = begun.result();
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(AwaitEnd(result, "c").state, "serving");
  EXPECT_EQ(begun.count(), 1);
}

TEST_F(ClusterDeploysTest, AnOlderPlansOrderIsRefusedByTheNode) {
  Open();
  a_->Put("chat", kBytes);
  for (TestNode* node : {a_, b_, c_}) node->models().KnowPlan(kPlan);
  DeployRequest request{"chat", {"b"}};
  request.by = By({{0, 10}, 15});
  const auto begun = Deploy(request);
  ASSERT_TRUE(begun.ok()) << begun.status().ToString();
  const End end = AwaitEnd(begun, "b");
  EXPECT_EQ(end.state, "failed");
  EXPECT_THAT(end.error, HasSubstr("is older than the last one"));
  EXPECT_FALSE(b_->Has("chat"));
}

TEST_F(ClusterDeploysTest, TwoDeploysOfOneModelAtOnceAreBothAnsweredAndCopiedOnce) {
  Open();
  a_->Put("chat", kBytes);
  Once<Result<json>> first, second;
  std::thread other([&] { deploys_->Deploy({"chat", {"b"}}, first.function()); });
  deploys_->Deploy({"chat", {"b", "c"}}, second.function());
  other.join();
  ASSERT_TRUE(first.result().ok());
  ASSERT_TRUE(second.result().ok());
  EXPECT_NE(first.result()->at("id").get<uint64_t>(), second.result()->at("id").get<uint64_t>());
  EXPECT_EQ(AwaitEnd(first.result(), "b").state, "serving");
  EXPECT_EQ(AwaitEnd(second.result(), "b").state, "serving");
  EXPECT_EQ(AwaitEnd(second.result(), "c").state, "serving");
  EXPECT_EQ(b_->loads.load(), 1);
  EXPECT_EQ(first.count() + second.count(), 2);
}

TEST_F(ClusterDeploysTest, ACopyWhoseSourceIsLostGoesOnFromAnotherNode) {
  Open();
  a_->Put("chat", kBytes);
  b_->Put("chat", kBytes);
  a_->gives.store(static_cast<int64_t>(kMostPieceBytes));  // the first that is asked
  const auto begun = Deploy({"chat", {"c"}});
  ASSERT_TRUE(begun.ok()) << begun.status().ToString();
  const End end = AwaitEnd(begun, "c");
  EXPECT_EQ(end.state, "serving") << end.error;
  EXPECT_EQ(c_->folder().Read("models/chat/model.onnx"), kBytes);
}

TEST_F(ClusterDeploysTest, TheLastReplicaIsTakenByForceAlone) {
  Open();
  a_->Put("chat", kBytes);
  b_->Put("chat", kBytes);
  const auto both = Undeploy({"chat", {"a", "b"}});
  EXPECT_EQ(both.status().code(), Code::kConflict);
  EXPECT_THAT(both.status().message(), HasSubstr("no node but 'a', 'b' serves model 'chat'"));
  EXPECT_TRUE(a_->Serves("chat") && b_->Serves("chat"));
  ASSERT_TRUE(Undeploy({"chat", {"a"}}).ok());
  EXPECT_FALSE(a_->Has("chat"));
  UndeployRequest last{"chat", {"b"}};
  last.keep_files = true;
  EXPECT_EQ(Undeploy(last).status().code(), Code::kConflict) << "nobody would serve it";
  last.keep_files = false;
  EXPECT_EQ(Undeploy(last).status().code(), Code::kConflict);
  EXPECT_TRUE(b_->Serves("chat") && b_->Has("chat"));
  last.force = true;
  EXPECT_TRUE(Undeploy(last).ok());
  EXPECT_FALSE(b_->Serves("chat") || b_->Has("chat"));
  EXPECT_THAT(Asked(), ElementsAre(Pair("chat", 1), Pair("chat", 0)));
}

TEST_F(ClusterDeploysTest, TheLastFilesStayToo) {
  Open();
  a_->Put("chat", kBytes);
  UndeployRequest unload{"chat", {"a"}};
  unload.keep_files = unload.force = true;
  ASSERT_TRUE(Undeploy(unload).ok());
  EXPECT_TRUE(a_->Has("chat"));
  const auto refused = Undeploy({"chat", {"a"}});
  EXPECT_EQ(refused.status().code(), Code::kConflict);
  EXPECT_THAT(refused.status().message(), HasSubstr("has the files of model 'chat'"));
  EXPECT_TRUE(a_->Has("chat"));
}

TEST_F(ClusterDeploysTest, DeparturesOfOneModelFollowEachOtherAndTheLastIsRefused) {
  Open({50ms, 20ms});
  for (TestNode* node : {a_, b_, c_}) node->Put("chat", kBytes);
  std::vector<Once<Result<json>>> done(3);
  const char* const names[] = {"a", "b", "c"};
  for (size_t i = 0; i < done.size(); ++i)
    deploys_->Undeploy({"chat", {names[i]}}, done[i].function());
  EXPECT_TRUE(done[0].result().ok());
  EXPECT_TRUE(done[1].result().ok());
  EXPECT_EQ(done[2].result().status().code(), Code::kConflict);
  EXPECT_TRUE(c_->Serves("chat"));
}

TEST_F(ClusterDeploysTest, SeveralNodesAreTakenFromAtOnce) {
  Open();
  for (TestNode* node : {a_, b_, c_}) node->Put("chat", kBytes);
  // Each waits for the other: one after the other they would not come to an end in time.
  std::mutex mutex;
  std::condition_variable changed;
  int here = 0;
  bool met = true;
  const auto meet = [&] {
    std::unique_lock lock(mutex);
    ++here;
    changed.notify_all();
    met = changed.wait_for(lock, 20s, [&] { return here == 2; }) && met;
  };
  b_->on_unload = c_->on_unload = meet;
  const auto taken = Undeploy({"chat", {"b", "c"}});
  EXPECT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_TRUE(met);
  EXPECT_FALSE(b_->Serves("chat") || c_->Serves("chat"));
  EXPECT_THAT(Asked(), ElementsAre(Pair("chat", 1)));
}

TEST_F(ClusterDeploysTest, WhereOneNodeRefusesTheOthersThatLeftCount) {
  Open();
  for (TestNode* node : {a_, b_, c_}) node->Put("chat", kBytes);
  c_->models().Stop();
  const auto taken = Undeploy({"chat", {"b", "c"}});
  EXPECT_EQ(taken.status().code(), Code::kUnavailable);
  EXPECT_THAT(taken.status().message(), HasSubstr("node 'c'"));
  EXPECT_FALSE(b_->Serves("chat"));
  EXPECT_TRUE(c_->Serves("chat"));
  EXPECT_THAT(Asked(), ElementsAre(Pair("chat", 2)));
}

TEST_F(ClusterDeploysTest, WhatWaitsIsAnsweredOnceWhenTheNodeStops) {
  Open({1h, 1h});
  for (TestNode* node : {a_, b_, c_}) {
    for (const char* model : {"chat", "other"}) node->Put(model, kBytes);
  }
  std::vector<Once<Result<json>>> done(12);
  for (size_t i = 0; i < done.size(); ++i) {
    const std::string node(1, static_cast<char>('a' + i % 3));
    deploys_->Undeploy({i % 2 == 0 ? "chat" : "other", {node}}, done[i].function());
  }
  EXPECT_FALSE(done[0].Wait(50ms));
  for (TestNode* node : {a_, b_, c_}) node->models().Stop();
  deploys_->Stop();
  Once<Result<json>> late;
  deploys_->Deploy({"chat", {}}, late.function());
  EXPECT_EQ(late.result().status().code(), Code::kUnavailable);
  for (const auto& one : done) {
    EXPECT_FALSE(one.result().ok());
    EXPECT_EQ(one.count(), 1);
  }
  EXPECT_EQ(a_->unloads.load() + b_->unloads.load() + c_->unloads.load(), 0);
}

}  // namespace
}  // namespace evenkeel
