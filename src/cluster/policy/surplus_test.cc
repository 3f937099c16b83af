#include "cluster/policy/surplus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "cluster/policy/placement.h"

namespace evenkeel {
namespace {

constexpr double kNow = 10'000, kLongAgo = 1000;

// Three nodes. "chat" was to be on two, and is on three: node 1 was lost, node 2 got it, and node 1 is back. "bert" is on node 0 and is to have one more, for which no node has room.
SurplusProblem Restored() {
  SurplusProblem problem;
  problem.free_bytes = {50, 50, 50};
  SurplusModel chat;
  chat.asked = 2;
  chat.still_s = kLongAgo;
  chat.memory_bytes = 60;
  chat.on = {{0, 60, 1}, {1, 60, 2}, {2, 60, 500}};
  chat.seconds = {0.1, 0.1, 0.1};
  SurplusModel bert;
  bert.asked = 2;
  bert.still_s = kLongAgo;
  bert.memory_bytes = 100;
  bert.on = {{0, 100, 3}};
  bert.seconds = {0.1, 0.1, 0.1};
  problem.models = {chat, bert};
  return problem;
}

TEST(SurplusTest, WhereItsMemoryIsWantedTheReplicaThatCameLastGoes) {
  EXPECT_EQ(SurplusToGiveUp(Restored(), kNow), (Surplus{0, 2, 1}));
}

TEST(SurplusTest, WhereNobodyWantsItItStays) {
  SurplusProblem problem = Restored();
  problem.models[1].asked = 1;  // nothing is missing
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  problem = Restored();
  problem.free_bytes[1] = 100;  // there is room
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  problem = Restored();
  problem.models[1].memory_bytes = 200;  // it would not do
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  problem = Restored();
  problem.models[1].seconds = {0, 0, 0};  // nobody calls what is missing: it is not brought
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
}

TEST(SurplusTest, ItGoesFromWhereTheOtherOneCanBe) {
  SurplusProblem problem = Restored();
  problem.models[1].seconds[2] = kImpossible;
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), (Surplus{0, 1, 1}));
}

TEST(SurplusTest, WhereFewerWereAskedForWhileTheseServedOneGoes) {
  SurplusProblem problem = Restored();
  problem.models.pop_back();
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  problem.models[0].said = true;
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), (Surplus{0, 2, -1}));
}

TEST(SurplusTest, ANodeThatComesAndGoesTakesNothingAway) {
  SurplusProblem problem = Restored();
  const SurplusOptions options;
  problem.models[0].still_s = kNow - options.still_s + 1;
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  EXPECT_TRUE(SurplusToGiveUp(problem, kNow + 1).has_value());
  problem = Restored();
  problem.models[1].still_s = kNow - options.missing_s + 1;
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  EXPECT_TRUE(SurplusToGiveUp(problem, kNow + 1).has_value());
}

TEST(SurplusTest, WhereThereWasRoomAMomentAgoNothingGoes) {
  SurplusProblem problem = Restored();
  problem.models[1].room_s = kNow - SurplusOptions().missing_s + 1;
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  EXPECT_TRUE(SurplusToGiveUp(problem, kNow + 1).has_value());
}

TEST(SurplusTest, ANodeOfWhoseMemoryNothingIsKnownMayHaveRoom) {
  SurplusProblem problem = Restored();
  problem.free_bytes[1] = 0;
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
}

TEST(SurplusTest, WhatTheOthersCouldNotCarryStays) {
  SurplusProblem problem = Restored();
  problem.models[0].seconds = {0.9, 0.9, 0.9};  // 0.45 on each of two
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  problem.models[0].seconds = {0.7, 0.7, 0.7};
  EXPECT_TRUE(SurplusToGiveUp(problem, kNow).has_value());
  problem.models[0].seconds.assign(3, kImpossible);  // nothing is known of it
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  problem.models[0].seconds.assign(3, 0);  // nobody calls it
  EXPECT_TRUE(SurplusToGiveUp(problem, kNow).has_value());
}

TEST(SurplusTest, NobodyAskedNothingGoes) {
  SurplusProblem problem = Restored();
  problem.models[0].asked = 0;
  problem.models[0].said = true;
  EXPECT_EQ(SurplusToGiveUp(problem, kNow), std::nullopt);
  EXPECT_EQ(SurplusToGiveUp({}, kNow), std::nullopt);
}

SurplusProblem Random(std::mt19937_64& random) {
  const auto below = [&](int bound) {
    return static_cast<int>(random() % static_cast<uint64_t>(bound));
  };
  SurplusProblem problem;
  const int nodes = 2 + below(4), models = 1 + below(4);
  for (int i = 0; i < nodes; ++i) problem.free_bytes.push_back(below(100));
  for (int j = 0; j < models; ++j) {
    SurplusModel model;
    model.asked = below(4);
    model.said = below(3) == 0;
    model.still_s = kNow - below(1200);
    if (below(2) == 0) model.room_s = kNow - below(600);
    model.memory_bytes = 10 + below(100);
    for (int i = 0; i < nodes; ++i) {
      if (below(2) == 0) model.on.push_back({i, 10 + below(100), static_cast<double>(below(5))});
      const double costs[] = {0, kImpossible, 0.05, 0.5, 1.3};
      model.seconds.push_back(costs[below(5)]);
    }
    problem.models.push_back(std::move(model));
  }
  return problem;
}

// Whether those that stay do all of the work in a second, at so many seconds each.
bool Carries(const SurplusModel& model, int leaves, double level) {
  double done = 0;
  for (const SurplusReplica& one : model.on) {
    if (one.node == leaves) continue;
    const double seconds = model.seconds[static_cast<size_t>(one.node)];
    done += seconds <= 0 ? 1 : level / seconds;
  }
  return done >= 1;
}

bool FindsRoom(const SurplusProblem& problem, const SurplusModel& model) {
  for (size_t node = 0; node < problem.free_bytes.size(); ++node) {
    bool on = false;
    for (const SurplusReplica& one : model.on) on = on || static_cast<size_t>(one.node) == node;
    const double seconds = model.seconds[node];
    const int64_t free = problem.free_bytes[node];
    if (!on && seconds > 0 && seconds < kImpossible && (free == 0 || free >= model.memory_bytes))
      return true;
  }
  return false;
}

// All that may be given up, by trying each: a model that lacked room has it afterwards.
std::vector<Surplus> AllThatMayGo(const SurplusProblem& problem) {
  const SurplusOptions options;
  std::vector<Surplus> all;
  for (int i = 0; i < std::ssize(problem.models); ++i) {
    const SurplusModel& model = problem.models[static_cast<size_t>(i)];
    if (model.asked == 0 || std::ssize(model.on) <= model.asked) continue;
    if (kNow - model.still_s < options.still_s) continue;
    for (const SurplusReplica& replica : model.on) {
      if (!Carries(model, replica.node, options.carry_s)) continue;
      SurplusProblem then = problem;
      then.free_bytes[static_cast<size_t>(replica.node)] += replica.bytes;
      Surplus one{i, replica.node, -1};
      for (int other = 0; other < std::ssize(problem.models) && one.wanted_by < 0; ++other) {
        const SurplusModel& lacks = problem.models[static_cast<size_t>(other)];
        const bool missing = !lacks.on.empty() && std::ssize(lacks.on) < lacks.asked &&
                             kNow - lacks.still_s >= options.missing_s &&
                             kNow - lacks.room_s >= options.missing_s;
        if (missing && !FindsRoom(problem, lacks) && FindsRoom(then, lacks)) one.wanted_by = other;
      }
      if (one.wanted_by >= 0 || model.said) all.push_back(one);
    }
  }
  return all;
}

const SurplusReplica& ReplicaOf(const SurplusProblem& problem, const Surplus& one) {
  return *std::ranges::find(problem.models[static_cast<size_t>(one.model)].on, one.node,
                            &SurplusReplica::node);
}

TEST(SurplusTest, IsTheFirstOfAllThatMayGo) {
  std::mt19937_64 random(1);
  int gone = 0;
  for (int round = 0; round < 20'000; ++round) {
    const SurplusProblem problem = Random(random);
    const auto all = AllThatMayGo(problem);
    const auto chosen = SurplusToGiveUp(problem, kNow);
    ASSERT_EQ(chosen.has_value(), !all.empty()) << round;
    if (!chosen) continue;
    ++gone;
    ASSERT_TRUE(std::ranges::find(all, *chosen) != all.end()) << round;
    const SurplusReplica& goes = ReplicaOf(problem, *chosen);
    for (const Surplus& other : all) {
      if (chosen->wanted_by < 0) {
        EXPECT_LT(other.wanted_by, 0) << round;
      }
      if ((chosen->wanted_by < 0) != (other.wanted_by < 0)) continue;
      EXPECT_GE(goes.since_s, ReplicaOf(problem, other).since_s) << round;
    }
  }
  EXPECT_GT(gone, 200) << "else nothing was tried";
}

TEST(SurplusTest, HoweverOftenItIsAskedNoModelComesBelowWhatWasAskedFor) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 3000; ++round) {
    SurplusProblem problem = Random(random);
    const SurplusProblem before = problem;
    int steps = 0;
    while (const auto goes = SurplusToGiveUp(problem, kNow)) {
      ASSERT_LT(++steps, 30) << "there are not as many replicas";
      const SurplusReplica replica = ReplicaOf(problem, *goes);
      problem.free_bytes[static_cast<size_t>(goes->node)] += replica.bytes;
      std::erase_if(problem.models[static_cast<size_t>(goes->model)].on,
                    [&](const SurplusReplica& one) { return one.node == goes->node; });
    }
    for (size_t i = 0; i < problem.models.size(); ++i) {
      const auto now = std::ssize(problem.models[i].on), then = std::ssize(before.models[i].on);
      if (now == then) continue;
      EXPECT_GE(now, before.models[i].asked) << round;
      EXPECT_GT(before.models[i].asked, 0) << round;
    }
  }
}

}  // namespace
}  // namespace evenkeel
