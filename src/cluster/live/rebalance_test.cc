#include "cluster/live/rebalance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace evenkeel {
namespace {

constexpr double kNowhere = std::numeric_limits<double>::infinity();

Rebalancer::Queue Queue(int64_t rows, std::vector<double> there) {
  return {.model = "m", .rows = rows, .row_s = 0.01, .there_s = std::move(there)};
}

int64_t RowsOf(const std::vector<Rebalancer::Move>& moves) {
  int64_t rows = 0;
  for (const auto& move : moves) rows += move.rows;
  return rows;
}

TEST(RebalancerTest, LevelNodesMoveNothing) {
  Rebalancer rebalancer;
  const Rebalancer::Node nodes[] = {{.load_s = 2, .capacity = 2}, {.load_s = 1, .capacity = 1}};
  const Rebalancer::Queue queues[] = {Queue(200, {0, 0.01})};
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(rebalancer.Plan(nodes, queues).empty());
}

TEST(RebalancerTest, TheMethodMakesLoadsAlikeWhateverANodesSize) {
  // To the method the large node has too much, and a part repays its cost as long as nobody is through later.
  const Rebalancer::Node nodes[] = {{.load_s = 8, .capacity = 4}, {.load_s = 1, .capacity = 1}};
  const Rebalancer::Queue queues[] = {Queue(800, {0, 0.01})};
  Rebalancer method(BalanceRule::kMethod);
  const auto moves = method.Plan(nodes, queues);
  ASSERT_EQ(moves.size(), 1);
  EXPECT_EQ(moves[0].to, 1);
  // Turned round: the small one is behind for its size, and gives nothing, since its load is less.
  const Rebalancer::Node behind[] = {{.load_s = 3, .capacity = 1}, {.load_s = 4, .capacity = 4}};
  const Rebalancer::Queue waits[] = {Queue(300, {0, 0.01})};
  EXPECT_TRUE(Rebalancer(BalanceRule::kMethod).Plan(behind, waits).empty());
  EXPECT_FALSE(Rebalancer().Plan(behind, waits).empty());
}

TEST(RebalancerTest, SwitchedOffMovesNothing) {
  const Rebalancer::Node nodes[] = {{.load_s = 4}, {.load_s = 0}};
  const Rebalancer::Queue queues[] = {Queue(400, {0, 0.01})};
  EXPECT_TRUE(Rebalancer(BalanceRule::kOff).Plan(nodes, queues).empty());
}

TEST(RebalancerTest, AFullNodeGivesToAnEmptyOne) {
  Rebalancer rebalancer;
  const Rebalancer::Node nodes[] = {{.load_s = 4}, {.load_s = 0}};
  const Rebalancer::Queue queues[] = {Queue(400, {0, 0.01})};
  const auto moves = rebalancer.Plan(nodes, queues);
  ASSERT_EQ(moves.size(), 1);
  EXPECT_EQ(moves[0].to, 1);
  EXPECT_GT(moves[0].gain_s, Rebalancer::kHysteresis);
  EXPECT_GE(moves[0].rows, 10);
  EXPECT_LE(moves[0].rows, 200);  // never beyond level
}

TEST(RebalancerTest, NothingGoesToWhoDoesNotServeItOrTakesNoWork) {
  Rebalancer rebalancer;
  const Rebalancer::Queue nowhere[] = {Queue(400, {0, kNowhere})};
  const Rebalancer::Node nodes[] = {{.load_s = 4}, {.load_s = 0}};
  EXPECT_TRUE(rebalancer.Plan(nodes, nowhere).empty());
  const Rebalancer::Node suspect[] = {{.load_s = 4}, {.load_s = 0, .takes_work = false}};
  const Rebalancer::Queue queues[] = {Queue(400, {0, 0.01})};
  EXPECT_TRUE(Rebalancer().Plan(suspect, queues).empty());
}

TEST(RebalancerTest, ADearMoveIsNotMade) {
  const Rebalancer::Queue queues[] = {Queue(400, {0, 0.01})};
  const Rebalancer::Node near[] = {{.load_s = 4}, {.load_s = 0, .forward_s = 0.01}};
  const Rebalancer::Node far[] = {{.load_s = 4}, {.load_s = 0, .forward_s = 5}};
  EXPECT_FALSE(Rebalancer().Plan(near, queues).empty());
  EXPECT_TRUE(Rebalancer().Plan(far, queues).empty());
}

TEST(RebalancerTest, NoMoreGoThanGainThere) {
  const Rebalancer::Node nodes[] = {{.load_s = 4}, {.load_s = 0}};
  Rebalancer::Queue queue = Queue(400, {0, 0.01});
  queue.most = {400, 40};
  const Rebalancer::Queue few[] = {queue};
  const auto moves = Rebalancer().Plan(nodes, few);
  ASSERT_EQ(moves.size(), 1);
  EXPECT_GT(moves[0].rows, 0);
  EXPECT_LE(moves[0].rows, 40);
  queue.most = {400, 0};
  const Rebalancer::Queue none[] = {queue};
  EXPECT_TRUE(Rebalancer().Plan(nodes, none).empty());
}

TEST(RebalancerTest, ASlowerNodeGetsLess) {
  const Rebalancer::Node nodes[] = {{.load_s = 4}, {.load_s = 0}, {.load_s = 0}};
  const Rebalancer::Queue queues[] = {Queue(400, {0, 0.01, 0.2})};
  const auto moves = Rebalancer().Plan(nodes, queues);
  int64_t fast = 0, slow = 0;
  for (const auto& move : moves) (move.to == 1 ? fast : slow) += move.rows;
  EXPECT_GT(fast, 0);
  EXPECT_LT(slow, fast);
}

// A queue that nobody adds to is level within seconds, from figures that are a second old, and without going back and forth.
TEST(RebalancerTest, LevelsMeetWithoutOvershoot) {
  Rebalancer rebalancer[3];
  double rows[3] = {3000, 0, 0}, seen[3] = {3000, 0, 0};
  const double capacity[3] = {1, 2, 0.5};
  double spread_before = 1e9;
  for (int second = 0; second < 30; ++second) {
    double next[3] = {rows[0], rows[1], rows[2]};
    for (int n = 0; n < 3; ++n) {
      std::vector<Rebalancer::Node> nodes;
      for (int i = 0; i < 3; ++i) {
        const int other = (n + i) % 3;
        nodes.push_back(
            {.load_s = (i == 0 ? rows[other] : seen[other]) * 0.01, .capacity = capacity[other]});
      }
      const Rebalancer::Queue queues[] = {
          Queue(static_cast<int64_t>(rows[n]), std::vector<double>(3, 0.01))};
      for (const auto& move : rebalancer[n].Plan(nodes, queues)) {
        next[n] -= static_cast<double>(move.rows);
        next[(n + move.to) % 3] += static_cast<double>(move.rows);
      }
    }
    std::copy(rows, rows + 3, seen);
    std::copy(next, next + 3, rows);
    double low = 1e9, high = 0;
    for (int n = 0; n < 3; ++n) {
      EXPECT_GE(rows[n], 0);
      low = std::min(low, rows[n] / capacity[n]);
      high = std::max(high, rows[n] / capacity[n]);
    }
    EXPECT_LE(high - low, spread_before + 1e-9) << "second " << second;
    spread_before = high - low;
  }
  EXPECT_DOUBLE_EQ(rows[0] + rows[1] + rows[2], 3000);
  EXPECT_LT(spread_before * 0.01, 0.5);  // seconds
}

TEST(RebalancerTest, WhatWaitsGoesBeforeWhatRuns) {
  const Rebalancer::Node nodes[] = {{.load_s = 4}, {.load_s = 0}};
  Rebalancer::Queue runs = Queue(200, {0, 0.01});
  runs.kind = MovableKind::kSequence;
  const Rebalancer::Queue both[] = {runs, Queue(200, {0, 0.01})};
  const auto moves = Rebalancer().Plan(nodes, both);
  ASSERT_EQ(moves.size(), 1);
  EXPECT_EQ(moves[0].kind, MovableKind::kQueued);
  const auto alone = Rebalancer().Plan(nodes, {&runs, 1});
  ASSERT_EQ(alone.size(), 1);
  EXPECT_EQ(alone[0].kind, MovableKind::kSequence);
  runs.move_s = 1;  // recomputing costs more than it gains
  EXPECT_TRUE(Rebalancer().Plan(nodes, {&runs, 1}).empty());
}

TEST(RebalancerTest, NoMoreThanWhatWaits) {
  const Rebalancer::Node nodes[] = {{.load_s = 10}, {.load_s = 0}, {.load_s = 0}, {.load_s = 0}};
  const Rebalancer::Queue queues[] = {Queue(3, {0, 0.01, 0.01, 0.01}),
                                      Queue(2, {0, 0.01, 0.01, 0.01})};
  Rebalancer rebalancer;
  for (int i = 0; i < 10; ++i) EXPECT_LE(RowsOf(rebalancer.Plan(nodes, queues)), 5);
}

}  // namespace
}  // namespace evenkeel
