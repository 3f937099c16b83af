#include "cluster/policy/game.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cluster/policy/random_problem.h"

namespace evenkeel {
namespace {

PlacementProblem Loaded(uint64_t seed, int tasks = 30, int nodes = 5) {
  RandomShape shape;
  shape.tasks = tasks;
  shape.nodes = nodes;
  PlacementProblem problem = RandomProblem(shape, seed);
  std::mt19937_64 rng(seed);
  for (double& load : problem.present_s) load = std::uniform_real_distribution<double>(0, 3)(rng);
  return problem;
}

Placement Anywhere(const PlacementProblem& problem, uint64_t seed) {
  std::mt19937_64 rng(seed + 1000);
  Placement placement;
  for (int task = 0; task < problem.tasks(); ++task)
    placement.push_back(std::uniform_int_distribution<int>(0, problem.nodes() - 1)(rng));
  return placement;
}

TEST(GameTest, AMoveChangesThePotentialByTheWeightedUtility) {
  int moves = 0;
  for (uint64_t seed = 0; moves < 20'000; ++seed) {
    const PlacementProblem problem = Loaded(seed);
    const LoadModel model = LoadModelOf(problem);
    Placement placement = Anywhere(problem, seed);
    std::mt19937_64 rng(seed);
    for (int i = 0; i < 100; ++i, ++moves) {
      const int task = std::uniform_int_distribution<int>(0, problem.tasks() - 1)(rng);
      const int to = std::uniform_int_distribution<int>(0, problem.nodes() - 1)(rng);
      const double before = Potential(problem, model, placement);
      const double u =
          Utility(problem, model, placement, task, placement[static_cast<size_t>(task)], {});
      const double v = Utility(problem, model, placement, task, to, {});
      placement[static_cast<size_t>(task)] = to;
      const double change = Potential(problem, model, placement) - before;
      const double expected = -model.weight_s[static_cast<size_t>(task)] * (v - u);
      ASSERT_NEAR(change, expected, 1e-9 * std::max(1.0, std::abs(before))) << seed << " " << i;
    }
  }
}

TEST(GameTest, EveryMoveLowersThePotentialAndItEnds) {
  std::vector<int> rounds;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const PlacementProblem problem = Loaded(seed);
    const Placement start = Anywhere(problem, seed);
    const GameResult result = Settle(problem, start);
    double last = Potential(problem, LoadModelOf(problem), start);
    for (const GameMove& move : result.moves) {
      EXPECT_LT(move.potential, last);
      EXPECT_GT(move.utility_after, move.utility_before);
      last = move.potential;
    }
    EXPECT_NEAR(last, Potential(problem, LoadModelOf(problem), result.last), 1e-8 * last);
    EXPECT_TRUE(result.settled);
    EXPECT_FALSE(Score(problem, start) < result.score);
    EXPECT_FALSE(Score(problem, result.last) < result.score);
    rounds.push_back(result.rounds);
    // Nobody gains by moving alone.
    const LoadModel model = LoadModelOf(problem);
    for (int task = 0; task < problem.tasks(); ++task) {
      const int at = result.last[static_cast<size_t>(task)];
      const double now = Utility(problem, model, result.last, task, at, {});
      for (int node = 0; node < problem.nodes(); ++node)
        EXPECT_LE(Utility(problem, model, result.last, task, node, {}), now + 1e-6);
    }
  }
  std::ranges::sort(rounds);
  EXPECT_LE(rounds[rounds.size() / 2], 5);
  EXPECT_LE(rounds.back(), 100);
}

TEST(GameTest, KeepsToWhatFits) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    RandomShape shape;
    shape.tasks = 20;
    shape.memory = 0.9;
    shape.impossible = 0.2;
    const PlacementProblem problem = RandomProblem(shape, seed);
    const auto start = LongestFirst(problem);
    if (!start) continue;
    const GameResult result = Settle(problem, *start);
    EXPECT_TRUE(Fits(problem, result.placement));
    EXPECT_TRUE(Fits(problem, result.last));
  }
}

TEST(GameTest, CapacitiesExplainCostsThatHaveThem) {
  PlacementProblem problem = Loaded(1, 6, 3);
  const double weight[] = {1, 2, 3, 4, 5, 6}, capacity[] = {0.5, 1, 2};
  for (int j = 0; j < 6; ++j) {
    for (int i = 0; i < 3; ++i) problem.seconds(j, i) = weight[j] / capacity[i];
  }
  problem.seconds(2, 1) = kImpossible;
  const LoadModel model = LoadModelOf(problem);
  for (size_t j = 0; j < 6; ++j) EXPECT_NEAR(model.weight_s[j], weight[j], 1e-9);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(model.capacity[i], capacity[i], 1e-9);
}

// The method by its sentence: each task in turn goes to the highest bid.
TEST(GameTest, TheHighestBidTakesEachTask) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const PlacementProblem problem = Loaded(seed, 10, 4);
    const auto bids = Bid(problem, {2, 0.5});
    ASSERT_TRUE(bids.has_value());
    const LoadModel model = LoadModelOf(problem);
    const double mean = problem.seconds.mean();
    std::vector<double> level = problem.present_s;  // L_i / C_i
    for (int task = 0; task < problem.tasks(); ++task) {
      const auto at = static_cast<size_t>((*bids)[static_cast<size_t>(task)]);
      const auto bid = [&](size_t node) {
        const double own = model.weight_s[static_cast<size_t>(task)] / model.capacity[node];
        return -(2 * problem.seconds(task, static_cast<int>(node)) / mean +
                 0.5 * (level[node] + own) / mean);
      };
      for (size_t node = 0; node < level.size(); ++node) EXPECT_LE(bid(node), bid(at) + 1e-12);
      level[at] += model.weight_s[static_cast<size_t>(task)] / model.capacity[at];
    }
  }
}

}  // namespace
}  // namespace evenkeel
