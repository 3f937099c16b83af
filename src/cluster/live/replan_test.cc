#include "cluster/live/replan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "cluster/policy/plan.h"

namespace evenkeel {
namespace {

Allocation Made(int tasks, int nodes) {
  Allocation now;
  for (int j = 0; j < tasks; ++j) now.tasks.push_back("m" + std::to_string(j));
  for (int i = 0; i < nodes; ++i) now.nodes.push_back(std::string(1, static_cast<char>('a' + i)));
  now.problem.seconds = Eigen::MatrixXd::Constant(tasks, nodes, 0.1);
  now.problem.memory.assign(static_cast<size_t>(tasks), 1);
  now.problem.room.assign(static_cast<size_t>(nodes), 1000);
  now.problem.present_s.assign(static_cast<size_t>(nodes), 0);
  now.holders.assign(static_cast<size_t>(tasks), {0});
  now.bring_s = Eigen::MatrixXd::Constant(tasks, nodes, 2);
  return now;
}

TEST(ReplanTest, HoldersShareACallsWorkSoThatTheyAreLevel) {
  Allocation now = Made(1, 3);
  now.problem.seconds << 0.9, 0.45, 0.1;
  now.holders = {{0, 1}};
  // Of speeds 1/0.9 and 1/0.45 the whole is done in 1 / (1/0.9 + 1/0.45).
  EXPECT_NEAR(PresentLevel(now), 0.3, 0.003);
  now.holders = {{}};
  EXPECT_EQ(PresentLevel(now), kImpossible);
}

TEST(ReplanTest, SharingOutIsNearWhatNoSharingCanBeat) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> cost(0.05, 0.5);
  for (int round = 0; round < 50; ++round) {
    Allocation now = Made(8, 4);
    for (int j = 0; j < 8; ++j) {
      for (int i = 0; i < 4; ++i) now.problem.seconds(j, i) = cost(random);
      now.holders[static_cast<size_t>(j)] = {0, 1, 2, 3};
    }
    // A bound from below by duality: any prices p of the nodes that sum to 1 give  sum of min p_i c_ji.
    double bound = 0;
    for (int j = 0; j < 8; ++j) bound += now.problem.seconds.row(j).minCoeff() / 4;
    const double level = PresentLevel(now);
    EXPECT_GE(level, bound * (1 - 1e-9));
    // One node a model is sharing, too, so that it can't be better by more than what sharing misses.
    PlanOptions options;
    options.improve.most_trials = 20'000;
    const auto plan = MakePlan(now.problem, options);
    ASSERT_TRUE(plan.ok());
    EXPECT_LE(level, plan->score.makespan_s * 1.05) << "round " << round;
  }
}

TEST(ReplanTest, AllOnOneNodeIsWorthMoving) {
  const Allocation now = Made(6, 3);
  const auto plan = BestPlan(now, {});
  ASSERT_TRUE(plan.has_value());
  EXPECT_NEAR(plan->present, 0.6, 1e-9);
  EXPECT_NEAR(plan->planned, 0.2, 1e-9);
  EXPECT_EQ(plan->moves.size(), 4);
  EXPECT_NEAR(plan->cost_s, 8, 1e-9);
  EXPECT_NEAR(plan->gain_s, 240, 1e-6);
  EXPECT_TRUE(WorthIt(*plan, {}));
}

TEST(ReplanTest, NothingIsWorthMovingForLessThanItCosts) {
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> cost(0.01, 0.5), bring(0.1, 400);
  int worth = 0;
  for (int round = 0; round < 300; ++round) {
    Allocation now = Made(5, 3);
    for (int j = 0; j < 5; ++j) {
      for (int i = 0; i < 3; ++i) {
        now.problem.seconds(j, i) = cost(random);
        now.bring_s(j, i) = bring(random);
      }
    }
    const auto plan = BestPlan(now, {});
    if (!plan || !WorthIt(*plan, {})) continue;
    ++worth;
    double price = 0;
    for (const Replan::Bring& move : plan->moves) price += now.bring_s(move.task, move.node);
    EXPECT_GT((PresentLevel(now) - plan->planned) * ReplanOptions().horizon_s, price);
  }
  EXPECT_GT(worth, 10) << "else nothing was tried";
  EXPECT_LT(worth, 290);
}

TEST(ReplanTest, WhatIsWithinTheErrorIsNotWorthIt) {
  Allocation now = Made(6, 3);
  now.error = Eigen::MatrixXd::Constant(6, 3, 0.1);
  const auto sure = BestPlan(now, {});
  ASSERT_TRUE(sure.has_value());
  EXPECT_NEAR(sure->error, std::hypot(0.1 * 0.1 * std::sqrt(6), 0.1 * 0.1 * std::sqrt(2)), 1e-9);
  EXPECT_TRUE(WorthIt(*sure, {}));
  now.error.setConstant(0.6);  // the fall is 0.4, its standard error 0.17
  EXPECT_FALSE(WorthIt(*BestPlan(now, {}), {}));
}

TEST(ReplanTest, ALoadThatIsSmallAnywayIsLeftWhereItIs) {
  Allocation now = Made(6, 3);
  now.problem.seconds *= 0.01;
  now.bring_s.setConstant(0.001);
  const auto plan = BestPlan(now, {});
  ASSERT_TRUE(plan.has_value());
  EXPECT_GT(plan->gain_s, plan->cost_s);
  EXPECT_FALSE(WorthIt(*plan, {}));
}

TEST(ReplanTest, ReplicasStayAndAreOnNodesOfTheirOwn) {
  Allocation now = Made(4, 3);
  now.problem.seconds.setConstant(0.3);
  now.holders.assign(4, {0, 1});
  now.least.assign(4, 2);
  const auto plan = BestPlan(now, {});
  ASSERT_TRUE(plan.has_value());
  EXPECT_NEAR(plan->present, 0.6, 1e-9);
  EXPECT_LT(plan->planned, 0.46);
  EXPECT_GT(plan->planned, 0.4 - 1e-9);
  for (const auto& places : plan->places) {
    ASSERT_EQ(places.size(), 2);
    EXPECT_LT(places[0], places[1]);
  }
  // Only what comes to the third node is brought.
  for (const Replan::Bring& move : plan->moves) EXPECT_EQ(move.node, 2);
  EXPECT_TRUE(WorthIt(*plan, {}));
}

TEST(ReplanTest, ALoadThatNoNodeCarriesGetsAReplicaMore) {
  Allocation now = Made(1, 3);
  now.problem.seconds.setConstant(1.2);
  const auto plan = BestPlan(now, {});
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->places[0].size(), 2);
  EXPECT_EQ(plan->places[0].front(), 0);
  EXPECT_NEAR(plan->present, 1.2, 1e-9);
  EXPECT_NEAR(plan->planned, 0.6, 0.01);
  EXPECT_EQ(plan->moves.size(), 1);
}

TEST(ReplanTest, OnlyWhatIsMissingIsAdded) {
  Allocation now = Made(3, 3);
  now.holders = {{0}, {0, 1}, {0}};
  now.least = {2, 2, 1};
  const auto plan = AddMissing(now, {});
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->moves.size(), 1);
  EXPECT_EQ(plan->moves[0].task, 0);
  EXPECT_LE(plan->planned, plan->present * (1 + 1e-9));
  now.least = {1, 2, 1};
  EXPECT_FALSE(AddMissing(now, {}).has_value());
  now.least = {2, 2, 1};
  now.problem.room = {1000, 1, 0};  // where 1 is taken
  EXPECT_FALSE(AddMissing(now, {}).has_value());
}

TEST(ReplanTest, WhereAllIsAsPlannedThereIsNoPlan) {
  Allocation now = Made(2, 2);
  now.problem.seconds << 0.1, 0.5, 0.5, 0.1;
  now.holders = {{0}, {1}};
  EXPECT_FALSE(BestPlan(now, {}).has_value());
  EXPECT_FALSE(BestPlan(Made(0, 2), {}).has_value());
  EXPECT_FALSE(BestPlan(Made(3, 1), {}).has_value());
}

}  // namespace
}  // namespace evenkeel
