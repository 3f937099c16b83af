#include "cluster/live/feedback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "cluster/live/figures_test_kit.h"

namespace evenkeel {
namespace {

// Three alike nodes with two models each, all called so that a node is half busy: nothing can be better. What is measured scatters.
class Cluster {
 public:
  Cluster(uint64_t seed, double noise) : random_(seed), noise_(0, noise) {
    for (const char* name : {"a", "b", "c"}) nodes.push_back(ViewOf(name, 2, 100));
    for (size_t i = 0; i < 6; ++i) {
      Serve(nodes[i % 3], "m" + std::to_string(i), 0.01, 50);
      slower.push_back(1);
    }
  }
  std::optional<Feedback::Proposal> Look() {
    for (size_t k = 0; k < nodes.size(); ++k) {
      for (ModelFigures& model : nodes[k].figures.models) {
        const size_t index = static_cast<size_t>(model.name[1] - '0');
        model.row_s = 0.01 * slower[index] * node_slower[k] * std::exp(noise_(random_));
        model.rate_rps = 50 * busier * std::exp(noise_(random_));
        ++model.done;
      }
    }
    return feedback.Look(nodes, now_s += Feedback::kPeriod);
  }

  std::vector<ReplicaTable::NodeView> nodes;
  std::vector<double> slower;
  double node_slower[3] = {1, 1, 1};
  double busier = 1;
  double now_s = 0;
  Feedback feedback;

 private:
  std::mt19937_64 random_;
  std::normal_distribution<double> noise_;
};

TEST(FeedbackTest, NoiseProposesNothingInTenThousandLooks) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Cluster cluster(seed, 0.2);
    for (int i = 0; i < 10'000; ++i) ASSERT_FALSE(cluster.Look().has_value()) << "look " << i;
  }
}

TEST(FeedbackTest, ANodeThatBecomesTenTimesAsSlowIsProposedWithinTenLooks) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Cluster cluster(seed, 0.2);
    for (int i = 0; i < 60; ++i) ASSERT_FALSE(cluster.Look().has_value());
    cluster.node_slower[1] = 10;
    std::optional<Feedback::Proposal> proposal;
    int looks = 0;
    while (!proposal && looks < 10) {
      proposal = cluster.Look();
      ++looks;
    }
    ASSERT_TRUE(proposal.has_value()) << "seed " << seed << ": " << cluster.feedback.passed_over();
    EXPECT_GT(proposal->plan.gain_s, proposal->plan.cost_s);
    EXPECT_NE(proposal->reason.find("on node 'b'"), std::string::npos) << proposal->reason;
    // What moves, moves away from there.
    for (const Replan::Bring& move : proposal->plan.moves)
      EXPECT_NE(proposal->nodes[static_cast<size_t>(move.node)], "b");
  }
}

TEST(FeedbackTest, BetweenTwoProposalsThereIsTime) {
  Cluster cluster(5, 0.1);
  std::vector<double> at;
  for (int i = 0; i < 600; ++i) {
    // Ever slower: each time it is more worth than the last.
    cluster.node_slower[2] = i < 30 ? 1 : 2 + i / 20;
    if (cluster.Look()) at.push_back(cluster.now_s);
  }
  ASSERT_GE(at.size(), 2);
  for (size_t i = 1; i < at.size(); ++i) EXPECT_GE(at[i] - at[i - 1], Feedback::kQuiet);
}

TEST(FeedbackTest, WhatWasProposedIsNotProposedAgain) {
  Cluster cluster(6, 0.1);
  std::vector<int> at;
  for (int i = 0; i < 500; ++i) {
    cluster.node_slower[1] = i < 30 ? 1 : 10;
    if (cluster.Look()) at.push_back(i);
  }
  ASSERT_FALSE(at.empty());
  EXPECT_LE(at.size(), 2) << "once, and perhaps once more when all figures have changed";
  EXPECT_LT(at.back(), 100);
}

TEST(FeedbackTest, NothingIsProposedThatCostsMoreThanItGains) {
  Cluster cluster(7, 0.1);
  for (auto& node : cluster.nodes) {
    for (ModelFigures& model : node.figures.models) model.start_up_s = 1e5;
  }
  for (int i = 0; i < 300; ++i) {
    cluster.node_slower[1] = i < 60 ? 1 : 10;
    ASSERT_FALSE(cluster.Look().has_value());
  }
  EXPECT_NE(cluster.feedback.passed_over(), "");
}

TEST(FeedbackTest, ANodeThatComesIsProposedOnceItHasSettled) {
  Cluster cluster(8, 0.1);
  for (int i = 0; i < 60; ++i) ASSERT_FALSE(cluster.Look().has_value());
  // Beside the others it is a giant.
  cluster.nodes.push_back(ViewOf("d", 64, 6400));
  std::optional<Feedback::Proposal> proposal;
  int looks = 0;
  for (; !proposal && looks < 60; ++looks) proposal = cluster.Look();
  ASSERT_TRUE(proposal.has_value()) << cluster.feedback.passed_over();
  EXPECT_GE(looks, Feedback::kSettle);
  EXPECT_EQ(proposal->reason, "nodes or models have come or gone");
}

TEST(FeedbackTest, LoadThatGrowsAsksForAPlan) {
  Cluster cluster(9, 0.1);
  // All on one node, and hardly called: that is as good as anything.
  for (size_t k : {size_t{1}, size_t{2}}) {
    for (ModelFigures& model : cluster.nodes[k].figures.models)
      cluster.nodes[0].figures.models.push_back(model);
    cluster.nodes[k].figures.models.clear();
  }
  cluster.busier = 0.01;
  for (int i = 0; i < 100; ++i) ASSERT_FALSE(cluster.Look().has_value());
  cluster.busier = 1;
  std::optional<Feedback::Proposal> proposal;
  for (int i = 0; !proposal && i < 30; ++i) proposal = cluster.Look();
  ASSERT_TRUE(proposal.has_value()) << cluster.feedback.passed_over();
  EXPECT_NE(proposal->reason.find("times as often"), std::string::npos) << proposal->reason;
}

TEST(FeedbackTest, AReplicaThatWasAskedForAndIsMissingForLongIsProposed) {
  Cluster cluster(11, 0.1);
  cluster.nodes[1].figures.wishes = {{"m0", 2, 5}};
  std::optional<Feedback::Proposal> proposal;
  int looks = 0;
  for (; !proposal && looks < 400; ++looks) proposal = cluster.Look();
  ASSERT_TRUE(proposal.has_value()) << cluster.feedback.passed_over();
  EXPECT_GE(looks, Feedback::kRestore) << "a node that restarts is back by then";
  EXPECT_TRUE(proposal->restores);
  ASSERT_EQ(proposal->plan.moves.size(), 1);
  const auto task = static_cast<size_t>(proposal->plan.moves[0].task);
  EXPECT_EQ(proposal->tasks[task], "m0");
  EXPECT_EQ(proposal->plan.places[task].size(), 2);
  EXPECT_EQ(proposal->reason, "model 'm0' has 1 of 2 replicas that were asked for");
  // Whoever takes that back is heard.
  cluster.nodes[2].figures.wishes = {{"m0", 1, 6}};
  for (int i = 0; i < 700; ++i) ASSERT_FALSE(cluster.Look().has_value());
}

TEST(FeedbackTest, AReplicaThatCannotBeBroughtIsTriedLessAndLessOften) {
  Cluster cluster(12, 0.1);
  cluster.nodes[1].figures.wishes = {{"m0", 2, 5}};
  std::vector<double> at;
  const auto look_for = [&](double seconds) {
    for (const double end = cluster.now_s + seconds; cluster.now_s < end;) {
      const auto proposal = cluster.Look();
      if (!proposal) continue;
      ASSERT_TRUE(proposal->restores);
      at.push_back(proposal->at_s);
      EXPECT_EQ(proposal->tries, static_cast<int>(at.size()));
      EXPECT_EQ(proposal->again_s, cluster.feedback.RestoreWait(proposal->tries));
    }
  };
  look_for(50'000);
  const double waits[] = {600, 1200, 2400, 4800, 9600, 14'400};
  ASSERT_GE(at.size(), std::size(waits) + 1);
  for (size_t i = 0; i + 1 < at.size(); ++i) {
    const double wait = waits[std::min(i, std::size(waits) - 1)];
    EXPECT_GE(at[i + 1] - at[i], wait) << i;
    // It is looked at every kRestore.
    EXPECT_LE(at[i + 1] - at[i], wait + Feedback::kRestore + Feedback::kAsking) << i;
  }
  // Something else is missing now: from the start.
  cluster.nodes[1].figures.wishes = {{"m0", 3, 6}};
  at.clear();
  look_for(2 * 600 + 3 * Feedback::kRestore);
  EXPECT_GE(at.size(), 1U);
}

TEST(FeedbackTest, WhatWasHeldUpBySomethingElseIsNoTry) {
  Cluster cluster(13, 0.1);
  cluster.nodes[1].figures.wishes = {{"m0", 2, 5}};
  int proposals = 0;
  for (int i = 0; i < 6000; ++i) {
    const auto proposal = cluster.Look();
    if (!proposal) continue;
    ++proposals;
    EXPECT_EQ(proposal->tries, 1);
    cluster.feedback.NotTried();
  }
  EXPECT_GE(proposals, 6) << "each horizon, and not after twice as long each time";
}

// "m0" is on a and b; two were asked for, and then one.
class SurplusCluster : public Cluster {
 public:
  explicit SurplusCluster(uint64_t seed) : Cluster(seed, 0.1) {
    busier = 0.5;
    nodes[2].figures.wishes = {{"m0", 2, 5}};
    EXPECT_FALSE(LookFor(60).has_value());
    Serve(nodes[1], "m0", 0.01, 25);
    EXPECT_FALSE(LookFor(1000).has_value()) << "as many as were asked for";
    nodes[2].figures.wishes = {{"m0", 1, 6}};
  }
  std::optional<Feedback::Proposal> LookFor(int looks) {
    for (int i = 0; i < looks; ++i) {
      if (auto proposal = Look()) return proposal;
    }
    return std::nullopt;
  }
};

TEST(FeedbackTest, AReplicaBeyondWhatWasAskedForIsProposedToLeaveOnce) {
  SurplusCluster cluster(14);
  const double said_s = cluster.now_s + Feedback::kPeriod;
  const auto proposal = cluster.LookFor(1000);
  ASSERT_TRUE(proposal.has_value()) << cluster.feedback.passed_over();
  EXPECT_GE(proposal->at_s - said_s, SurplusOptions().still_s);
  EXPECT_EQ(proposal->leaves, "b") << "where it came last";
  EXPECT_EQ(proposal->tasks, std::vector<std::string>{"m0"});
  EXPECT_EQ(proposal->nodes, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(proposal->plan.places, (Holders{{0}}));
  EXPECT_TRUE(proposal->plan.moves.empty());
  EXPECT_FALSE(proposal->restores);
  EXPECT_FALSE(cluster.LookFor(3000).has_value());
}

TEST(FeedbackTest, AReplicaThatWasHeldUpWhenItWasToLeaveIsProposedAgain) {
  SurplusCluster cluster(15);
  double last_s = -1e9;
  for (int round = 0; round < 3; ++round) {
    const auto proposal = cluster.LookFor(1000);
    ASSERT_TRUE(proposal.has_value()) << round;
    EXPECT_EQ(proposal->leaves, "b");
    EXPECT_GE(proposal->at_s - last_s, SurplusOptions().still_s);
    last_s = proposal->at_s;
    cluster.feedback.NotTried();
  }
}

TEST(FeedbackTest, ANodeAloneHasNothingToPropose) {
  Cluster cluster(10, 0.1);
  cluster.nodes.resize(1);
  for (int i = 0; i < 100; ++i) {
    cluster.node_slower[0] = i < 50 ? 1 : 10;
    ASSERT_FALSE(cluster.Look().has_value());
  }
  Feedback none;
  EXPECT_FALSE(none.Look({}, 1).has_value());
}

}  // namespace
}  // namespace evenkeel
