#include "server/cluster_feedback.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "cluster/live/figures_test_kit.h"
#include "server/cluster_status.h"

namespace evenkeel {
namespace {

using nlohmann::json;

// Two models crowd node "a", and "b" has nothing to do.
class ClusterFeedbackTest : public testing::Test {
 protected:
  // `own`: which of the two looks.
  std::vector<ReplicaTable::NodeView> Views(bool own_is_a) {
    std::vector<ReplicaTable::NodeView> views{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
    for (const char* model : {"m", "n"}) {
      Serve(views[0], model, 0.01, 80);
      views[0].figures.models.back().done = ++done_;
    }
    if (!own_is_a) std::swap(views[0], views[1]);
    return views;
  }
  void Look(ClusterFeedback& feedback, bool own_is_a, int looks) {
    for (int i = 0; i < looks; ++i) {
      feedback.Look(now_ += std::chrono::seconds(1), Views(own_is_a));
      while (feedback.looking()) std::this_thread::yield();
    }
  }
  // How often a plan was applied.
  int Applied(bool automatic, bool own_is_a, const ClusterFeedback::Leads& leads = {}) {
    ClusterFeedback feedback(events_, automatic);
    int applied = 0;
    feedback.set_apply([&](const json& plan) {
      ++applied;
      plan_ = plan;
    });
    feedback.set_leads(leads);
    Look(feedback, own_is_a, 40);
    EXPECT_EQ(feedback.proposals(), 1);
    feedback.Stop();
    return applied;
  }

  EventLog events_;
  Time now_{std::chrono::seconds(1000)};
  uint64_t done_ = 0;
  json plan_;
};

TEST_F(ClusterFeedbackTest, APlanThatIsWorthItIsToldWithItsFiguresAndReason) {
  ClusterFeedback feedback(events_, /*automatic=*/false);
  EXPECT_EQ(feedback.learnt(), nullptr);
  Look(feedback, true, 40);
  const auto events = events_.Last();
  ASSERT_EQ(events.size(), 1);
  EXPECT_NE(events[0].what.find("s sooner: run `evenkeel plan --apply`"), std::string::npos);
  EXPECT_NE(events[0].why.find("nodes or models have come or gone; 1 move ("), std::string::npos)
      << events[0].why;
  const json told = feedback.Document(now_);
  EXPECT_EQ(told["proposals"], 1);
  EXPECT_EQ(told["replan"], "propose");
  EXPECT_NEAR(told["last"]["present"], 0.8, 0.01);
  EXPECT_NEAR(told["last"]["planned"], 0.4, 0.01);
  EXPECT_NEAR(told["last"]["gain_s"], 240, 5);
  EXPECT_EQ(told["last"]["moves"][0]["to"], "b");
  EXPECT_GT(told["last"]["age_s"], 10);
  ASSERT_NE(feedback.learnt(), nullptr);
  EXPECT_NEAR(feedback.learnt()->rates.at("m"), 80, 1);
  EXPECT_NEAR(feedback.learnt()->costs.WorkOf("m"), 0.5, 0.01);
}

TEST_F(ClusterFeedbackTest, WithAutoTheFirstByNameAppliesIt) {
  EXPECT_EQ(Applied(/*automatic=*/false, /*own_is_a=*/true), 0);
  EXPECT_EQ(Applied(true, false), 0);
  EXPECT_EQ(Applied(true, true), 1);
  EXPECT_EQ(plan_["schema"], "evenkeel.plan/v1");
  EXPECT_EQ(plan_["placement"]["a"].size(), 1);
  EXPECT_EQ(plan_["placement"]["b"].size(), 1);
  EXPECT_EQ(plan_["reason"], "nodes or models have come or gone");
  EXPECT_FALSE(plan_.contains("leaves"));
}

TEST_F(ClusterFeedbackTest, WhereALeaderIsElectedThatOneAppliesIt) {
  EXPECT_EQ(Applied(true, true, [] { return std::optional(false); }), 0);
  EXPECT_EQ(Applied(true, false, [] { return std::optional(true); }), 1);
  EXPECT_EQ(Applied(true, true, []() -> std::optional<bool> { return std::nullopt; }), 1);
}

TEST_F(ClusterFeedbackTest, WhileSomethingHindersItNothingIsAppliedAndTheEventSaysWhat) {
  ClusterFeedback feedback(events_, /*automatic=*/true);
  int applied = 0;
  feedback.set_apply([&](const json&) { ++applied; });
  feedback.set_leads([] { return std::optional(true); });
  feedback.set_hindrance([] { return std::string("the store is away for 12 s: timed out"); });
  Look(feedback, true, 40);
  feedback.Stop();
  EXPECT_EQ(applied, 0);
  const auto events = events_.Last();
  ASSERT_EQ(events.size(), 1);
  EXPECT_NE(events[0].what.find("it is not carried out: the store is away for 12 s: timed out"),
            std::string::npos)
      << events[0].what;
}

TEST_F(ClusterFeedbackTest, APlanKeepsReplicasAndNamesThemOnEachNode) {
  ClusterFeedback feedback(events_, /*automatic=*/true);
  feedback.set_apply([&](const json& plan) { plan_ = plan; });
  for (int i = 0; i < 40; ++i) {
    auto views = Views(true);
    views.push_back(ViewOf("c", 2, 100));
    Serve(views[1], "m", 0.01, 80);
    views[1].figures.models.back().done = done_;
    feedback.Look(now_ += std::chrono::seconds(1), views);
    while (feedback.looking()) std::this_thread::yield();
  }
  feedback.Stop();
  ASSERT_TRUE(plan_.contains("placement")) << feedback.Document(now_);
  int with_m = 0;
  for (const auto& [node, models] : plan_["placement"].items()) {
    int here = 0;
    for (const json& model : models) here += model == "m" ? 1 : 0;
    EXPECT_LE(here, 1) << node;
    with_m += here;
  }
  EXPECT_EQ(with_m, 2) << plan_;
}

TEST_F(ClusterFeedbackTest, ThatMissingReplicasAreTriedLessOftenIsSaidOnce) {
  ClusterFeedback feedback(events_, /*automatic=*/true);
  int applied = 0;
  feedback.set_apply([&](const json&) { ++applied; });
  for (int i = 0; i < 6000; ++i) {
    std::vector<ReplicaTable::NodeView> views{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
    Serve(views[0], "m", 0.01, 50);
    Serve(views[1], "n", 0.01, 50);
    ++done_;
    for (auto& view : views) view.figures.models.back().done = done_;
    views[1].figures.wishes = {{"m", 2, 5}};
    feedback.Look(now_ += std::chrono::seconds(1), views);
    while (feedback.looking()) std::this_thread::yield();
  }
  feedback.Stop();
  EXPECT_GE(applied, 3);
  EXPECT_LE(applied, 5) << "after 10, 20 and 40 minutes, and not each ten";
  int said = 0;
  for (const auto& event : events_.Last())
    said += event.what.find("less and less often") != std::string::npos ? 1 : 0;
  EXPECT_EQ(said, 1);
}

TEST_F(ClusterFeedbackTest, AReplicaBeyondWhatWasAskedForLeavesByAPlanThatNamesItsModelAlone) {
  ClusterFeedback feedback(events_, /*automatic=*/true);
  int applied = 0;
  std::string hindrance = "the store is away";
  feedback.set_apply([&](const json& plan) {
    ++applied;
    plan_ = plan;
  });
  feedback.set_hindrance([&] { return hindrance; });
  bool busy = false;  // written between looks alone
  feedback.set_busy([&] { return busy; });
  const auto look_for = [&](int looks, int replicas) {
    for (int i = 0; i < looks; ++i) {
      std::vector<ReplicaTable::NodeView> views{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
      ++done_;
      for (auto& view : views) {
        Serve(view, "m", 0.01, 20);
        view.figures.models.back().done = done_;
      }
      views[0].figures.wishes = {{"m", replicas, 10 - replicas}};  // two, then one
      feedback.Look(now_ += std::chrono::seconds(1), views);
      while (feedback.looking()) std::this_thread::yield();
    }
  };
  look_for(100, 2);
  EXPECT_TRUE(events_.Last().empty());
  look_for(800, 1);
  EXPECT_EQ(applied, 0);
  ASSERT_EQ(events_.Last().size(), 1);
  EXPECT_NE(events_.Last()[0].what.find("a replica beyond what was asked for is not needed any "
                                        "more: it is not carried out: the store is away"),
            std::string::npos)
      << events_.Last()[0].what;
  hindrance.clear();
  busy = true;  // a plan is carried out: it is not to be cut off
  look_for(3000, 1);
  EXPECT_EQ(applied, 0);
  EXPECT_EQ(events_.Last().size(), 1);
  EXPECT_EQ(feedback.proposals(), 1);
  busy = false;
  look_for(3000, 1);
  feedback.Stop();
  EXPECT_EQ(applied, 1) << "once";
  EXPECT_EQ(plan_["placement"], json::parse(R"({"a": [], "b": ["m"]})"));
  EXPECT_EQ(plan_["leaves"], "a");
  EXPECT_EQ(feedback.Document(now_)["last"]["leaves"], "a");
  EXPECT_EQ(events_.Last().size(), 2);
}

TEST_F(ClusterFeedbackTest, AfterStopNothingIsLookedAt) {
  ClusterFeedback feedback(events_, false);
  feedback.Stop();
  Look(feedback, true, 40);
  EXPECT_EQ(feedback.proposals(), 0);
}

TEST(ClusterStatusTest, LevelsAreWorkOverCoresAndTheAverageIsOfThoseThatTakePart) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 4, 100), ViewOf("b", 1, 25),
                                            ViewOf("c", 1, 25), ViewOf("d", 1, 25)};
  nodes[0].backlog_s = 2;
  nodes[1].backlog_s = 3;
  nodes[2].backlog_s = 100;
  nodes[2].suspect = true;
  nodes[3].gone = true;
  Serve(nodes[0], "m", 0.01, 30);
  Serve(nodes[0], "n", 0.01, 30);
  nodes[0].figures.models[0].waiting = 3;
  nodes[0].figures.models[1].waiting = 4;
  ReplicaTable::NodeView unseen;
  unseen.name = "e";
  nodes.push_back(unseen);
  std::vector<EventLog::Event> events(kMostShownEvents + 5);
  events.back().what = "last";
  const json status = ClusterStatus(nodes, {"alive", "alive", "suspect", "dead", "unseen"}, events);
  ASSERT_EQ(status["nodes"].size(), 4) << "d was taken off";
  EXPECT_EQ(status["nodes"][0]["level_s"], 0.5);
  EXPECT_EQ(status["nodes"][0]["waiting"], 7);
  EXPECT_EQ(status["nodes"][2]["state"], "suspect");
  EXPECT_FALSE(status["nodes"][3].contains("level_s"));
  EXPECT_EQ(status["average_level_s"], 1);
  EXPECT_EQ(status["models"].size(), 2);
  ASSERT_EQ(status["events"].size(), kMostShownEvents);
  EXPECT_EQ(status["events"].back()["what"], "last");
}

}  // namespace
}  // namespace evenkeel
