#include "cluster/policy/plan.h"

#include <gtest/gtest.h>

#include <chrono>

#include "cluster/policy/random_problem.h"

namespace evenkeel {
namespace {

// The least makespan of tasks that do not depend on each other, by looking at all that could be better.
class Exact {
 public:
  explicit Exact(const PlacementProblem& problem) : problem_(problem), room_(problem.room) {
    for (int task = 0; task < problem.tasks(); ++task) order_.push_back(task);
    std::ranges::sort(order_, [&](int a, int b) {
      return problem.seconds.row(a).minCoeff() > problem.seconds.row(b).minCoeff();
    });
    loads_ = problem.present_s;
  }
  double Solve(double known) {
    best_ = known;
    Look(0);
    return best_;
  }

 private:
  void Look(size_t depth) {
    if (depth == order_.size()) {
      best_ = std::min(best_, *std::ranges::max_element(loads_));
      return;
    }
    const int task = order_[depth];
    for (int node = 0; node < problem_.nodes(); ++node) {
      const auto n = static_cast<size_t>(node);
      const double cost = problem_.seconds(task, node);
      const int64_t memory = problem_.memory[static_cast<size_t>(task)];
      if (loads_[n] + cost >= best_ || memory > room_[n]) continue;
      loads_[n] += cost;
      room_[n] -= memory;
      Look(depth + 1);
      loads_[n] -= cost;
      room_[n] += memory;
    }
  }
  const PlacementProblem& problem_;
  std::vector<int> order_;
  std::vector<double> loads_;
  std::vector<int64_t> room_;
  double best_ = kImpossible;
};

PlanOptions Quick() {
  PlanOptions options;
  options.improve.most_trials = 50'000;
  return options;
}

TEST(PlanTest, IsCloseToTheOptimumAndNeverWorseThanTheSimpleWays) {
  double sum = 0, worst = 1;
  int count = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomShape shape;
    shape.nodes = 2 + static_cast<int>(seed % 3);
    shape.tasks = 4 + static_cast<int>(seed % 9);
    shape.impossible = seed % 4 == 0 ? 0.2 : 0;
    shape.memory = seed % 5 == 0 ? 0.8 : 0;
    const PlacementProblem problem = RandomProblem(shape, seed);
    const auto plan = MakePlan(problem, Quick());
    if (!plan.ok()) {
      EXPECT_EQ(plan.status().code(), Code::kUnavailable) << plan.status().ToString();
      continue;
    }
    EXPECT_TRUE(Fits(problem, plan->placement));
    for (const PlanStep& step : plan->steps) EXPECT_FALSE(step.score < plan->score) << step.name;
    for (const auto& simple : {LongestFirst(problem), BestSingleNode(problem)})
      EXPECT_FALSE(simple && Score(problem, *simple) < plan->score);
    const double optimum = Exact(problem).Solve(plan->score.makespan_s * (1 + 1e-12));
    const double ratio = plan->score.makespan_s / optimum;
    EXPECT_GE(ratio, 1 - 1e-9);
    sum += ratio;
    EXPECT_LE(ratio, 1.15) << seed;
    worst = std::max(worst, ratio);
    ++count;
  }
  EXPECT_GT(count, 180);
  EXPECT_LE(sum / count, 1.03);
  EXPECT_LE(worst, 1.15);
}

TEST(PlanTest, TheMethodsPlanFits) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    RandomShape shape;
    shape.impossible = 0.1;
    shape.memory = 0.6;
    const PlacementProblem problem = RandomProblem(shape, seed);
    const auto plan = MakePlanByMethod(problem);
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    EXPECT_TRUE(Fits(problem, plan->placement));
  }
}

TEST(PlanTest, NoTaskStartsBeforeWhatItNeeds) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    RandomShape shape;
    shape.edges = 0.7;
    const PlacementProblem problem = RandomProblem(shape, seed);
    const auto order = TopologicalOrder(problem.tasks(), problem.edges);
    std::vector<size_t> place(order.size());
    for (size_t i = 0; i < order.size(); ++i) place[static_cast<size_t>(order[i])] = i;
    for (const TaskEdge& edge : problem.edges)
      EXPECT_LT(place[static_cast<size_t>(edge.before)], place[static_cast<size_t>(edge.after)]);
    const auto plan = MakePlan(problem, Quick());
    ASSERT_TRUE(plan.ok());
    for (const PlanStep& step : plan->steps) EXPECT_FALSE(step.score < plan->score) << step.name;
  }
}

TEST(PlanTest, TransfersAndWaitingCount) {
  PlacementProblem problem;
  problem.seconds = Eigen::MatrixXd::Ones(3, 2);
  problem.memory = {0, 0, 0};
  problem.room = {0, 0};
  problem.present_s = {0, 0};
  problem.edges = {{0, 1, 1000}, {0, 2, 0}};
  problem.bytes_per_s = Eigen::MatrixXd::Constant(2, 2, 1000);
  problem.latency_s = Eigen::MatrixXd::Constant(2, 2, 0.25);
  EXPECT_DOUBLE_EQ(Score(problem, {0, 0, 0}).makespan_s, 3);
  EXPECT_DOUBLE_EQ(Score(problem, {0, 1, 0}).makespan_s, 1 + 0.25 + 1 + 1);
  EXPECT_DOUBLE_EQ(Score(problem, {0, 0, 1}).makespan_s, 2.25);
  const auto plan = MakePlan(problem);
  ASSERT_TRUE(plan.ok());
  EXPECT_DOUBLE_EQ(plan->score.makespan_s, 2.25);
}

TEST(PlanTest, WhatIsNoProblemIsRefused) {
  const auto refused = [](const PlacementProblem& problem) {
    return MakePlan(problem).status().code();
  };
  const PlacementProblem good = RandomProblem({}, 1);
  EXPECT_TRUE(MakePlan(good, Quick()).ok());
  EXPECT_EQ(refused({}), Code::kInvalidArgument);
  PlacementProblem bad = good;
  bad.memory.pop_back();
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.seconds(3, 1) = 0;
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.seconds(3, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.edges = {{0, 1, 0}, {1, 0, 0}};
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.edges = {{0, 99, 0}};
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.present_s[0] = -1;
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.seconds.row(2).setConstant(kImpossible);
  EXPECT_EQ(refused(bad), Code::kNotFound);
  bad = good;
  bad.room.assign(bad.room.size(), *std::ranges::max_element(bad.memory));
  EXPECT_EQ(refused(bad), Code::kUnavailable);
}

TEST(AssignTest, IsTheLeastOfAllPermutations) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomShape shape;
    shape.nodes = shape.tasks = 1 + static_cast<int>(seed % 6);
    const Eigen::MatrixXd costs = RandomProblem(shape, seed).seconds;
    const auto sum = [&](const std::vector<int>& columns) {
      double total = 0;
      for (int i = 0; i < shape.nodes; ++i) total += costs(i, columns[static_cast<size_t>(i)]);
      return total;
    };
    std::vector<int> columns;
    for (int i = 0; i < shape.nodes; ++i) columns.push_back(i);
    double least = kImpossible;
    do least = std::min(least, sum(columns));
    while (std::ranges::next_permutation(columns).found);
    EXPECT_NEAR(sum(Assign(costs)), least, 1e-9);
  }
}

TEST(PlanTest, EndsWhereNothingCanMove) {
  PlacementProblem problem = RandomProblem({20, 3}, 1);
  for (int task = 0; task < 20; ++task) {
    for (int node = 0; node < 3; ++node) {
      if (node != task % 3) problem.seconds(task, node) = kImpossible;
    }
  }
  const auto plan = MakePlan(problem);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->placement[4], 1);
}

TEST(PlanTest, ReplicasOfAModelAreOnDifferentServersWhateverTheStep) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    RandomShape shape;
    shape.nodes = 5;
    shape.tasks = seed % 2 == 0 ? 12 : 40;
    shape.memory = seed % 3 == 0 ? 0.5 : 0;
    PlacementProblem problem = RandomProblem(shape, seed);
    // Pairs of tasks alike; the first two nodes are one server.
    for (int task = 0; task < shape.tasks; ++task) {
      problem.replica_of.push_back(task / 2);
      problem.seconds.row(task) = problem.seconds.row(task / 2 * 2);
      problem.memory[static_cast<size_t>(task)] = problem.memory[static_cast<size_t>(task / 2 * 2)];
    }
    problem.host = {0, 0, 1, 2, 3};
    for (const bool method : {false, true}) {
      const auto plan = method ? MakePlanByMethod(problem) : MakePlan(problem, Quick());
      ASSERT_TRUE(plan.ok()) << plan.status().ToString();
      for (const PlanStep& step : plan->steps) {
        EXPECT_TRUE(Fits(problem, step.placement)) << step.name;
        for (int task = 0; task < shape.tasks; task += 2)
          EXPECT_NE(problem.host_of(step.placement[static_cast<size_t>(task)]),
                    problem.host_of(step.placement[static_cast<size_t>(task) + 1]))
              << step.name;
      }
    }
  }
}

TEST(PlanTest, MoreReplicasThanServersAreRefused) {
  PlacementProblem problem = RandomProblem({4, 3}, 1);
  problem.replica_of = {0, 0, 0, 1};
  EXPECT_TRUE(MakePlan(problem, Quick()).ok());
  problem.host = {0, 0, 1};
  EXPECT_EQ(MakePlan(problem, Quick()).status().code(), Code::kUnavailable);
  problem.host = {0, 3, 1};
  EXPECT_EQ(MakePlan(problem, Quick()).status().code(), Code::kInvalidArgument);
  problem.host.clear();
  problem.replica_of = {0, 0, 4, 1};
  EXPECT_EQ(MakePlan(problem, Quick()).status().code(), Code::kInvalidArgument);
  problem.replica_of = {0};
  EXPECT_EQ(MakePlan(problem, Quick()).status().code(), Code::kInvalidArgument);
}

TEST(PlanTest, IsTheSameEachTime) {
  const PlacementProblem problem = RandomProblem({40, 6}, 5);
  EXPECT_EQ(MakePlan(problem, Quick())->placement, MakePlan(problem, Quick())->placement);
}

}  // namespace
}  // namespace evenkeel
