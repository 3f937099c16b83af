#include "cluster/policy/measurement_design.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "cluster/policy/plan.h"
#include "cluster/policy/random_problem.h"

namespace evenkeel {
namespace {

TEST(FirstPairsTest, EveryNodeIsAsOftenAskedAndWithAllOthers) {
  constexpr int kTasks = 240, kNodes = 16;
  const auto pairs = FirstPairs(Eigen::MatrixXd::Ones(kTasks, kNodes));
  ASSERT_EQ(pairs.size(), 2 * kTasks);
  std::map<int, int> of_node;
  std::map<int, std::set<int>> of_task, together;
  for (const TaskOnNode& pair : pairs) {
    ++of_node[pair.node];
    of_task[pair.task].insert(pair.node);
  }
  for (const auto& [task, nodes] : of_task) {
    ASSERT_EQ(nodes.size(), 2) << task;
    together[*nodes.begin()].insert(*nodes.rbegin());
    together[*nodes.rbegin()].insert(*nodes.begin());
  }
  for (const auto& [node, count] : of_node) EXPECT_EQ(count, 2 * kTasks / kNodes) << node;
  for (const auto& [node, others] : together) EXPECT_EQ(others.size(), kNodes - 1) << node;
}

TEST(FirstPairsTest, ImpossiblePairsAreNotAskedForAndATaskGetsWhatThereIs) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    const int tasks = 1 + static_cast<int>(random() % 20),
              nodes = 1 + static_cast<int>(random() % 9);
    Eigen::MatrixXd roofline(tasks, nodes);
    std::vector<int> possible(static_cast<size_t>(tasks), 0);
    for (int j = 0; j < tasks; ++j) {
      for (int k = 0; k < nodes; ++k) {
        roofline(j, k) = random() % 2 == 0 ? 1.0 : kImpossible;
        possible[static_cast<size_t>(j)] += roofline(j, k) < kImpossible ? 1 : 0;
      }
    }
    const int each = 1 + static_cast<int>(random() % 3);
    std::map<int, std::set<int>> of_task;
    for (const TaskOnNode& pair : FirstPairs(roofline, each)) {
      ASSERT_LT(roofline(pair.task, pair.node), kImpossible);
      EXPECT_TRUE(of_task[pair.task].insert(pair.node).second) << "asked for twice";
    }
    for (int j = 0; j < tasks; ++j)
      EXPECT_EQ(of_task[j].size(), std::min(each, possible[static_cast<size_t>(j)]));
  }
}

TEST(NextPairsTest, WhatThePlanUsesAndNobodyMeasuredTheLeastCertainFirst) {
  Completion costs;
  costs.seconds = Eigen::MatrixXd::Constant(4, 2, 1.0);
  costs.seconds(2, 1) = 3;
  costs.deviation = Eigen::MatrixXd::Constant(4, 2, 0.1);
  costs.deviation(0, 0) = 0;
  costs.deviation(3, 0) = 1;
  const auto pairs = NextPairs(costs, {{0}, {1}, {1}, {0}}, 10);
  ASSERT_EQ(pairs.size(), 3) << "the first was measured";
  EXPECT_EQ(pairs[0].task, 3);
  EXPECT_EQ(pairs[1].task, 2);
  EXPECT_EQ(pairs[2].task, 1);
  EXPECT_EQ(NextPairs(costs, {{0}, {1}, {1}, {0}}, 1).size(), 1);
  EXPECT_TRUE(NextPairs(costs, {{0}, {1}, {1}, {0}}, 0).empty());
}

TEST(CarefulCostsTest, WhatWasMeasuredStandsAndTheRestIsDearer) {
  Completion costs;
  costs.seconds = Eigen::MatrixXd::Constant(2, 2, 2.0);
  costs.seconds(1, 1) = kImpossible;
  costs.deviation = Eigen::MatrixXd::Zero(2, 2);
  costs.deviation(0, 1) = 1;
  const Eigen::MatrixXd careful = CarefulCosts(costs);
  EXPECT_EQ(careful(0, 0), 2);
  EXPECT_NEAR(careful(0, 1), 2 * std::exp(kCare), 1e-12);
  EXPECT_EQ(careful(1, 1), kImpossible);
}

// A fifth of the pairs, in rounds, against as many that were drawn.
TEST(NextPairsTest, ChosenPairsMakeABetterPlanThanDrawnOnes) {
  double chosen_sum = 0, drawn_sum = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    RandomShape shape;
    shape.nodes = 8;
    shape.tasks = 60;
    shape.noise = 0.08;
    const PlacementProblem problem = RandomProblem(shape, seed);
    const Eigen::MatrixXd roofline = Eigen::MatrixXd::Ones(shape.tasks, shape.nodes);
    const auto makespan = [&](const Completion& costs) {
      PlacementProblem believed = problem;
      believed.seconds = costs.seconds;
      const Placement plan = MakePlan(believed)->placement;
      return std::pair(plan, Score(problem, plan).makespan_s);
    };
    constexpr size_t kBudget = 96 + 48;
    std::vector<MeasuredPair> drawn, chosen;
    std::mt19937_64 random(seed);
    Eigen::MatrixXd seen = Eigen::MatrixXd::Zero(shape.tasks, shape.nodes);
    const auto measure = [&](int task, int node, std::vector<MeasuredPair>* pairs) {
      pairs->push_back({task, node, problem.seconds(task, node)});
    };
    while (drawn.size() < kBudget) {
      const int task = static_cast<int>(drawn.size()) % shape.tasks;
      const int node = static_cast<int>(random() % static_cast<uint64_t>(shape.nodes));
      if (seen(task, node) == 0) measure(task, node, &drawn);
      seen(task, node) = 1;
    }
    for (const TaskOnNode& pair : FirstPairs(roofline)) measure(pair.task, pair.node, &chosen);
    while (true) {
      const Completion costs = Complete(roofline, chosen);
      Holders places;
      for (const int node : makespan(costs).first) places.push_back({node});
      const auto next =
          NextPairs(costs, places, std::min(6, static_cast<int>(kBudget - chosen.size())));
      if (next.empty()) break;
      for (const TaskOnNode& pair : next) measure(pair.task, pair.node, &chosen);
    }
    EXPECT_LE(chosen.size(), kBudget);
    chosen_sum += makespan(Complete(roofline, chosen)).second;
    drawn_sum += makespan(Complete(roofline, drawn)).second;
  }
  EXPECT_LT(chosen_sum, drawn_sum);
}

}  // namespace
}  // namespace evenkeel
