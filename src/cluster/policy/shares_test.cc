#include "cluster/policy/shares.h"

#include <gtest/gtest.h>

#include <random>

#include "cluster/policy/random_problem.h"

namespace evenkeel {
namespace {

// Each task on one to all of the nodes.
Holders RandomHolders(const PlacementProblem& problem, uint64_t seed) {
  std::mt19937_64 random(seed);
  Holders holders;
  for (int task = 0; task < problem.tasks(); ++task) {
    std::vector<int> nodes;
    for (int node = 0; node < problem.nodes(); ++node) {
      if (problem.possible(task, node) && random() % 2 == 0) nodes.push_back(node);
    }
    if (nodes.empty()) nodes.push_back(task % problem.nodes());
    holders.push_back(std::move(nodes));
  }
  return holders;
}

TEST(SharesTest, TwoThatShareAreLevel) {
  PlacementProblem problem = RandomProblem({1, 3}, 1);
  problem.seconds << 0.9, 0.45, 0.1;
  const SharedWork shares = ShareOut(problem, {{0, 1}}, AtTheirBest(problem, {{0, 1}}));
  // Of speeds 1/0.9 and 1/0.45 the whole is done in 1 / (1/0.9 + 1/0.45).
  EXPECT_NEAR(shares.makespan_s(), 0.3, 0.003);
  EXPECT_NEAR(shares.of(0, 1), 2.0 / 3, 0.01);
  EXPECT_EQ(shares.of(0, 2), 0);
}

TEST(SharesTest, AllOfTheWorkIsSharedAmongItsHoldersAndTheLevelNeverRises) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    RandomShape shape;
    shape.nodes = 2 + static_cast<int>(seed % 5);
    shape.impossible = seed % 3 == 0 ? 0.2 : 0;
    const PlacementProblem problem = RandomProblem(shape, seed);
    const Holders holders = RandomHolders(problem, seed);
    for (const SharedWork& start :
         {AtTheirBest(problem, holders), InEqualParts(problem, holders)}) {
      const SharedWork shares = ShareOut(problem, holders, start);
      EXPECT_LE(shares.makespan_s(), start.makespan_s() * (1 + 1e-9));
      std::vector<double> levels = problem.present_s;
      for (int task = 0; task < problem.tasks(); ++task) {
        EXPECT_NEAR(shares.of.row(task).sum(), 1, 1e-9);
        for (int node = 0; node < problem.nodes(); ++node) {
          const double part = shares.of(task, node);
          EXPECT_GE(part, -1e-12);
          const auto& on = holders[static_cast<size_t>(task)];
          if (std::ranges::find(on, node) == on.end()) {
            EXPECT_EQ(part, 0);
          } else {
            levels[static_cast<size_t>(node)] += part * problem.seconds(task, node);
          }
        }
      }
      for (int node = 0; node < problem.nodes(); ++node)
        EXPECT_NEAR(shares.levels[static_cast<size_t>(node)], levels[static_cast<size_t>(node)],
                    1e-9);
    }
  }
}

TEST(SharesTest, WithOneHolderEachNothingIsShared) {
  const PlacementProblem problem = RandomProblem({}, 3);
  Holders holders;
  Placement placement;
  for (int task = 0; task < problem.tasks(); ++task) {
    placement.push_back(task % problem.nodes());
    holders.push_back({placement.back()});
  }
  const SharedWork shares = ShareOut(problem, holders, InEqualParts(problem, holders));
  EXPECT_EQ(shares.levels, LoadsOf(problem, placement));
  EXPECT_DOUBLE_EQ(shares.TotalSeconds(problem), Score(problem, placement).total_s);
}

}  // namespace
}  // namespace evenkeel
