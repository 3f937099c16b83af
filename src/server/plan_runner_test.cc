#include "server/plan_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

ReplicaTable::NodeView Node(const std::string& name, std::vector<std::string> models,
                            bool known = true) {
  ReplicaTable::NodeView node;
  node.name = name;
  node.known = known;
  node.figures.free_memory_bytes = 100;
  for (const std::string& model : models) {
    ModelFigures figures;
    figures.name = model;
    figures.memory_bytes = 10;
    node.figures.models.push_back(figures);
  }
  return node;
}

TEST(ReadPlacementTest, ModelsStandWithWhereTheyServeAndWhereTheyShall) {
  const std::vector<ReplicaTable::NodeView> nodes = {Node("a", {"chat", "other"}), Node("b", {}),
                                                     Node("away", {"chat"}, /*known=*/false)};
  const auto cluster = ReadPlacement(json::parse(R"({"a": [], "b/CUDA": ["chat"]})"), nodes);
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  ASSERT_EQ(cluster->models.size(), 1U);
  EXPECT_EQ(cluster->models[0].name, "chat");
  EXPECT_EQ(cluster->models[0].memory_bytes, 10);
  EXPECT_THAT(cluster->models[0].serving, ElementsAre("a"));
  EXPECT_THAT(cluster->models[0].wanted, ElementsAre("b"));
  EXPECT_EQ(cluster->nodes.size(), 2U);
}

TEST(ReadPlacementTest, AModelWithReplicasIsWantedOnEachOfItsNodes) {
  const std::vector<ReplicaTable::NodeView> nodes = {Node("a", {"chat"}), Node("b", {"chat"}),
                                                     Node("c", {})};
  const auto cluster =
      ReadPlacement(json::parse(R"({"a": ["chat"], "b": [], "c/CUDA": ["chat"]})"), nodes);
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  ASSERT_EQ(cluster->models.size(), 1U);
  EXPECT_THAT(cluster->models[0].serving, ElementsAre("a", "b"));
  EXPECT_THAT(cluster->models[0].wanted, ElementsAre("a", "c"));
}

TEST(ReadPlacementTest, WhatIsNoPlanIsRefused) {
  const std::vector<ReplicaTable::NodeView> nodes = {Node("a", {"chat"})};
  for (const char* text : {"3", "[]", R"({"a": "chat"})", R"({"a": [1]})", R"({"a": ["gone"]})"}) {
    EXPECT_EQ(ReadPlacement(json::parse(text), nodes).status().code(), Code::kInvalidArgument)
        << text;
  }
  EXPECT_THAT(ReadPlacement(json::parse(R"({"a": ["gone"]})"), nodes).status().message(),
              HasSubstr("'gone'"));
}

// A cluster in which all that is ordered is done at once, and remembered.
class PlanRunnerTest : public testing::Test {
 protected:
  PlanRunnerTest() {
    PlanRunner::Cluster cluster;
    cluster.look = [this] {
      const std::lock_guard lock(mutex_);
      ++looks_;
      return nodes_;
    };
    cluster.deploy = [this](const DeployRequest& request, const PlanRunner::Done& done) {
      const std::lock_guard lock(mutex_);
      done_.push_back(fmt::format("load {} on {}", request.model, request.nodes.at(0)));
      by_.push_back(request.by);
      state_ = refuse_ ? "failed" : "serving";
      done(json{{"id", 7}});
    };
    cluster.undeploy = [this](const UndeployRequest& request, const PlanRunner::Done& done) {
      const std::lock_guard lock(mutex_);
      done_.push_back(fmt::format("unload {} from {}", request.model, request.nodes.at(0)));
      by_.push_back(request.by);
      EXPECT_TRUE(request.keep_files);
      EXPECT_FALSE(request.force);
      done(json::object());
    };
    cluster.deploys = [this] {
      const std::lock_guard lock(mutex_);
      json all =
          json::parse(R"({"deploys": [{"id": 7, "nodes": [{"error": "it knows a newer plan"}]}]})");
      all["deploys"][0]["nodes"][0]["state"] = state_;
      return all;
    };
    runner_ = std::make_unique<PlanRunner>(std::move(cluster), events_);
  }
  void StoreGives(Result<std::optional<PlanStamp>> answer) {
    runner_->set_store([this, answer = std::move(answer)](
                           const std::string& text,
                           const std::function<void(Result<std::optional<PlanStamp>>)>& done) {
      {
        const std::lock_guard lock(mutex_);
        done_.push_back("store " + json::parse(text)["placement"].dump());
      }
      done(answer);
    });
  }
  void Run() {
    runner_->Run(json::parse(R"({"placement": {"a": [], "b": ["chat"]}, "reason": "a test"})"));
  }
  // A plan by which "chat" leaves b and stays on a, where `nodes` are what is seen then.
  void RunLeaving(std::vector<ReplicaTable::NodeView> nodes) {
    {
      const std::lock_guard lock(mutex_);
      nodes_ = std::move(nodes);
    }
    runner_->Run(json::parse(
        R"({"placement": {"a": ["chat"], "b": []}, "leaves": "b", "reason": "a test"})"));
  }
  std::vector<std::string> Done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  bool Eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!holds() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    return holds();
  }
  std::string LastEvent() {
    const auto events = events_.Last();
    return events.empty() ? "" : events.back().what + ": " + events.back().why;
  }

  EventLog events_;
  std::mutex mutex_;  // guards what follows
  std::vector<ReplicaTable::NodeView> nodes_ = {Node("a", {"chat"}), Node("b", {})};
  std::vector<std::string> done_;
  std::vector<OrderedBy> by_;
  std::string state_;
  bool refuse_ = false;
  int looks_ = 0;
  std::unique_ptr<PlanRunner> runner_;  // last
};

const char* const kStored = R"(store {"a":[],"b":["chat"]})";

TEST_F(PlanRunnerTest, APlanIsStoredBeforeAnythingMovesAndItsOrdersCarryTheStamp) {
  StoreGives(std::optional(PlanStamp{{1, 12}, 15}));
  Run();
  ASSERT_TRUE(Eventually([this] { return Done().size() == 3; }));
  EXPECT_THAT(Done(), ElementsAre(kStored, "load chat on b", "unload chat from a"));
  const std::lock_guard lock(mutex_);
  ASSERT_EQ(by_.size(), 2);
  for (const OrderedBy& by : by_) {
    EXPECT_TRUE(by.plan);
    EXPECT_EQ(by.mark, (PlanMark{1, 12, 15}));
  }
}

TEST_F(PlanRunnerTest, WithoutTheStoreNothingMovesAndAnEventSaysSo) {
  StoreGives(Status(Code::kUnavailable, "the store is away for 12 s"));
  Run();
  ASSERT_TRUE(Eventually([this] { return !LastEvent().empty(); }));
  EXPECT_THAT(LastEvent(), HasSubstr("not carried out: it is not stored: the store is away"));
  EXPECT_THAT(Done(), ElementsAre(kStored));
}

TEST_F(PlanRunnerTest, WhereAClusterHasNoStoreItIsCarriedOutWithoutAStamp) {
  StoreGives(std::optional<PlanStamp>());
  Run();
  ASSERT_TRUE(Eventually([this] { return Done().size() == 3; }));
  const std::lock_guard lock(mutex_);
  EXPECT_TRUE(by_[0].plan);
  EXPECT_FALSE(by_[0].mark);
}

TEST_F(PlanRunnerTest, WhatANodeRefusesEndsThePlan) {
  refuse_ = true;
  StoreGives(std::optional(PlanStamp{{0, 2}, 3}));
  Run();
  ASSERT_TRUE(Eventually([this] { return !LastEvent().empty(); }));
  EXPECT_THAT(LastEvent(), HasSubstr("not carried out to its end: node 'b': it knows a newer"));
  EXPECT_THAT(Done(), ElementsAre(kStored, "load chat on b"));
}

TEST_F(PlanRunnerTest, WhatMovesNothingIsNotStored) {
  {
    const std::lock_guard lock(mutex_);
    nodes_ = {Node("a", {}), Node("b", {"chat"})};
  }
  StoreGives(std::optional(PlanStamp{{0, 2}, 3}));
  Run();
  ASSERT_TRUE(Eventually([this] {
    const std::lock_guard lock(mutex_);
    return looks_ == 1;
  }));
  // A plan after it shows that the first is through.
  runner_->Run(json::parse(R"({"placement": {"a": ["gone"]}})"));
  ASSERT_TRUE(Eventually([this] { return !LastEvent().empty(); }));
  EXPECT_THAT(LastEvent(), HasSubstr("'gone'"));
  EXPECT_TRUE(Done().empty());
}

TEST_F(PlanRunnerTest, AReplicaThatIsToLeaveLeaves) {
  StoreGives(std::optional<PlanStamp>());
  RunLeaving({Node("a", {"chat"}), Node("b", {"chat"})});
  ASSERT_TRUE(Eventually([this] { return Done().size() == 2; }));
  EXPECT_THAT(Done(), ElementsAre(StartsWith("store "), "unload chat from b"));
}

TEST_F(PlanRunnerTest, WhereOthersServeTheModelMeanwhileNoReplicaLeaves) {
  StoreGives(std::optional<PlanStamp>());
  const std::vector<std::vector<ReplicaTable::NodeView>> seen = {
      // Somebody brought it to a third node: two would leave.
      {Node("a", {"chat"}), Node("b", {"chat"}), Node("c", {"chat"})},
      // The one that stays has lost it: it would be loaded there.
      {Node("a", {}), Node("b", {"chat"})},
      // The one that leaves has, and another serves it.
      {Node("a", {"chat"}), Node("b", {}), Node("c", {"chat"})},
  };
  for (size_t i = 0; i < seen.size(); ++i) {
    RunLeaving(seen[i]);
    ASSERT_TRUE(Eventually([&] { return events_.Last().size() == i + 1; })) << i;
    EXPECT_THAT(LastEvent(), HasSubstr("a replica beyond what was asked for stays"));
    EXPECT_TRUE(Done().empty()) << i;
  }
}

// The store goes, or half of the nodes, while the first model is being loaded: what was to be unloaded stays.
TEST_F(PlanRunnerTest, WhatComesToHinderMovesEndsThePlanBeforeItsNextStep) {
  std::atomic<bool> frozen{false};
  runner_->set_hindrance([&]() -> std::string {
    // Asked before the load, and then before the unload.
    return frozen.exchange(true) ? "2 of 3 nodes were lost at once" : "";
  });
  Run();
  ASSERT_TRUE(Eventually([this] { return events_.Last().size() == 1; }));
  EXPECT_THAT(LastEvent(), HasSubstr("nothing is moved: 2 of 3 nodes were lost at once"));
  EXPECT_EQ(Done().size(), 1u);
}

TEST_F(PlanRunnerTest, IsBusyWhileAPlanIsCarriedOutOrWaits) {
  std::function<void(Result<std::optional<PlanStamp>>)> held;
  std::atomic<bool> asked{false};
  runner_->set_store([&](const std::string&, auto done) {
    held = std::move(done);
    asked = true;
  });
  EXPECT_FALSE(runner_->busy());
  Run();
  EXPECT_TRUE(runner_->busy());
  ASSERT_TRUE(Eventually([&] { return asked.load(); }));
  EXPECT_TRUE(runner_->busy());
  asked = false;
  Run();  // it waits for the first
  // The next one is put in its place while it is called.
  std::exchange(held, {})(std::optional<PlanStamp>());
  ASSERT_TRUE(Eventually([&] { return asked.load(); }));
  EXPECT_TRUE(runner_->busy()) << "with the second";
  std::exchange(held, {})(Status(Code::kUnavailable, "the store is away"));
  EXPECT_TRUE(Eventually([this] { return !runner_->busy(); }));
}

TEST_F(PlanRunnerTest, AStoreThatNeverAnswersHoldsUpNoStop) {
  std::function<void(Result<std::optional<PlanStamp>>)> held;
  std::atomic<bool> asked{false};
  runner_->set_store([&](const std::string&, auto done) {
    held = std::move(done);
    asked = true;
  });
  Run();
  ASSERT_TRUE(Eventually([&] { return asked.load(); }));
  runner_.reset();
  EXPECT_TRUE(Done().empty());
}

}  // namespace
}  // namespace evenkeel
