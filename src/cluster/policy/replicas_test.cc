#include "cluster/policy/replicas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "cluster/policy/random_problem.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;

size_t Index(int i) { return static_cast<size_t>(i); }

ReplicaOptions Quick() {
  ReplicaOptions options;
  options.plan.improve.most_trials = 20'000;
  return options;
}

// All of `models` take 0.1 s on each of `nodes`, and 1 byte of 1000.
ReplicaProblem Alike(int models, int nodes) {
  ReplicaProblem problem;
  problem.work.seconds = Eigen::MatrixXd::Constant(models, nodes, 0.1);
  problem.work.memory.assign(Index(models), 1);
  problem.work.room.assign(Index(nodes), 1000);
  problem.work.present_s.assign(Index(nodes), 0);
  return problem;
}

// Models that serve on one to three nodes, in memory that may be short; some are to have more replicas than they have, and of some a pair of places is one server.
ReplicaProblem Random(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](int most) {
    return static_cast<int>(random() % static_cast<uint64_t>(most));
  };
  RandomShape shape;
  shape.nodes = 3 + below(4);
  shape.tasks = 2 + below(8);
  shape.impossible = seed % 4 == 0 ? 0.15 : 0;
  shape.memory = seed % 3 == 0 ? 0.3 : 0;
  ReplicaProblem problem;
  problem.work = RandomProblem(shape, seed);
  problem.work.edges.clear();
  if (shape.memory == 0) problem.work.room.assign(Index(shape.nodes), int64_t{1} << 40);
  // Some models alone are more than a node can carry.
  problem.work.seconds *= seed % 2 == 0 ? 0.1 : 0.7;
  if (seed % 5 == 0) {
    for (int node = 0; node < shape.nodes; ++node) problem.work.host.push_back(node / 2);
  }
  std::vector<int64_t> room = problem.work.room;
  for (int model = 0; model < shape.tasks; ++model) {
    std::vector<int> on;
    std::set<int> servers;
    const int wanted = 1 + below(3);
    for (int tries = 0; tries < 20 && std::ssize(on) < wanted; ++tries) {
      const int node = below(shape.nodes);
      if (!problem.work.possible(model, node) ||
          room[Index(node)] < problem.work.memory[Index(model)] ||
          !servers.insert(problem.work.host_of(node)).second)
        continue;
      room[Index(node)] -= problem.work.memory[Index(model)];
      on.push_back(node);
    }
    std::ranges::sort(on);
    problem.least.push_back(std::max(1, static_cast<int>(on.size())) + (below(4) == 0 ? 1 : 0));
    problem.present.push_back(std::move(on));
  }
  return problem;
}

int ServersThatCan(const PlacementProblem& work, int model) {
  std::set<int> servers;
  for (int node = 0; node < work.nodes(); ++node) {
    if (work.possible(model, node) && work.memory[Index(model)] <= work.room[Index(node)])
      servers.insert(work.host_of(node));
  }
  return static_cast<int>(servers.size());
}

constexpr uint64_t kSeeds = 200;

TEST(ReplicasTest, EachModelIsOnServersOfItsOwnAndMemoryIsKeptTo) {
  int made = 0, apart = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const ReplicaProblem problem = Random(seed);
    const auto plan = MakeReplicaPlan(problem, Quick());
    if (!plan.ok()) {
      ASSERT_TRUE(plan.status().code() == Code::kUnavailable ||
                  plan.status().code() == Code::kNotFound)
          << plan.status().ToString();
      continue;
    }
    ++made;
    std::vector<int64_t> taken(problem.work.room.size(), 0);
    for (int model = 0; model < problem.work.tasks(); ++model) {
      const auto& places = plan->places[Index(model)];
      std::set<int> servers;
      for (const int place : places) {
        EXPECT_TRUE(problem.work.possible(model, place));
        EXPECT_TRUE(servers.insert(problem.work.host_of(place)).second) << "model " << model;
        taken[Index(place)] += problem.work.memory[Index(model)];
      }
      apart += places.size() > 1 ? 1 : 0;
      const int now = static_cast<int>(problem.present[Index(model)].size());
      EXPECT_GE(std::ssize(places),
                std::min(std::max(1, now), ServersThatCan(problem.work, model)));
    }
    for (size_t node = 0; node < taken.size(); ++node)
      EXPECT_LE(taken[node], problem.work.room[node]);
  }
  EXPECT_GT(made, static_cast<int>(kSeeds) * 8 / 10);
  EXPECT_GT(apart, 50) << "else nothing was kept apart";
}

TEST(ReplicasTest, WhatWasAskedForIsThereWhereItFitsAndTheLevelIsNotAboveThePresentOne) {
  int compared = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    if (seed % 3 == 0) continue;  // there memory may be short
    SCOPED_TRACE(seed);
    const ReplicaProblem problem = Random(seed);
    const auto plan = MakeReplicaPlan(problem, Quick());
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    for (int model = 0; model < problem.work.tasks(); ++model)
      EXPECT_GE(std::ssize(plan->places[Index(model)]),
                std::min(problem.least[Index(model)], ServersThatCan(problem.work, model)));
    if (!plan->present_s) continue;
    ++compared;
    EXPECT_LE(plan->score.makespan_s, *plan->present_s * (1 + 1e-6));
  }
  EXPECT_GT(compared, 50);
}

TEST(ReplicasTest, WithOneReplicaEachItIsTheSamePlanAsEver) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    RandomShape shape;
    shape.tasks = 4 + static_cast<int>(seed % 20);
    shape.memory = seed % 3 == 0 ? 0.7 : 0;
    ReplicaProblem problem;
    problem.work = RandomProblem(shape, seed);
    problem.most.assign(Index(shape.tasks), 1);
    PlanOptions options = Quick().plan;
    const auto before = MakePlan(problem.work, options);
    const auto plan = MakeReplicaPlan(problem, Quick());
    ASSERT_EQ(plan.ok(), before.ok());
    if (!plan.ok()) continue;
    for (int model = 0; model < shape.tasks; ++model)
      EXPECT_THAT(plan->places[Index(model)], ElementsAre(before->placement[Index(model)]));
    EXPECT_DOUBLE_EQ(plan->score.makespan_s, before->score.makespan_s);
    ASSERT_GE(plan->steps.size(), before->steps.size());
    for (size_t step = 0; step < before->steps.size(); ++step)
      EXPECT_EQ(plan->steps[step].name, before->steps[step].name);
  }
}

TEST(ReplicasTest, ALoadThatNoNodeCarriesIsShared) {
  ReplicaProblem problem = Alike(1, 4);
  problem.work.seconds.setConstant(2);
  EXPECT_EQ(ReplicasForLoad(problem.work, 0, 0.8), 3);
  const auto plan = MakeReplicaPlan(problem);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->places[0].size(), 3);
  EXPECT_NEAR(plan->score.makespan_s, 2.0 / 3, 0.01);
  // Four nodes would not do either: it gets what there is.
  problem.work.seconds.setConstant(9);
  EXPECT_EQ(MakeReplicaPlan(problem)->places[0].size(), 4);
  // Fewer, where that was said.
  problem.most = {2};
  EXPECT_EQ(MakeReplicaPlan(problem)->places[0].size(), 2);
}

TEST(ReplicasTest, MoreReplicasThatRelieveNobodyAreNotMade) {
  // Each has a node's whole work, and there are as many as nodes: sharing them all leaves every node as busy.
  ReplicaProblem problem = Alike(3, 3);
  problem.work.seconds.setConstant(1);
  const auto plan = MakeReplicaPlan(problem);
  ASSERT_TRUE(plan.ok());
  for (const auto& places : plan->places) EXPECT_EQ(places.size(), 1);
}

TEST(ReplicasTest, WhatServesAsWellAsAnythingStaysWhereItIs) {
  ReplicaProblem problem = Alike(4, 4);
  problem.present = {{0, 2}, {1, 3}, {0, 3}, {1, 2}};
  problem.least = {2, 2, 2, 2};
  const auto plan = MakeReplicaPlan(problem, Quick());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->places, problem.present);
  EXPECT_NEAR(plan->score.makespan_s, 0.1, 0.001);
}

TEST(ReplicasTest, ModelsThatNobodyCallsStayWhereTheyAre) {
  ReplicaProblem problem = Alike(3, 3);
  problem.work.seconds.setConstant(1e-9);  // as cost_matrix.h has them
  problem.present = {{0, 1}, {0, 1}, {0, 1}};
  problem.least = {2, 2, 2};
  const auto plan = MakeReplicaPlan(problem, Quick());
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_EQ(plan->places, problem.present);
}

TEST(ReplicasTest, WhoAsksForFewerGetsFewerAndTheFasterOnesStay) {
  ReplicaProblem problem = Alike(1, 3);
  problem.work.seconds << 0.3, 0.1, 0.2;
  problem.present = {{0, 1, 2}};
  problem.least = {2};
  const auto plan = MakeReplicaPlan(problem, Quick());
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(plan->places[0], ElementsAre(1, 2));
}

TEST(ReplicasTest, WhoAsksForOneOfTwoHasNothingBroughtElsewhere) {
  ReplicaProblem problem = Alike(2, 4);
  problem.present = {{2, 3}, {3}};
  const auto plan = MakeReplicaPlan(problem, Quick());
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(plan->places[0], ElementsAre(2));
  EXPECT_THAT(plan->places[1], ElementsAre(3));
}

TEST(ReplicasTest, WhereOnlyWhatIsMissingIsToBeAddedNothingElseMoves) {
  int added = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const ReplicaProblem problem = Random(seed);
    ReplicaOptions options = Quick();
    options.only_add = true;
    const auto plan = MakeReplicaPlan(problem, options);
    if (!plan.ok()) {
      EXPECT_TRUE(plan.status().code() == Code::kUnavailable ||
                  plan.status().code() == Code::kNotFound);
      continue;
    }
    for (int model = 0; model < problem.work.tasks(); ++model) {
      const auto& now = problem.present[Index(model)];
      const auto& then = plan->places[Index(model)];
      EXPECT_TRUE(std::ranges::includes(then, now));
      EXPECT_GE(std::ssize(then),
                std::min(problem.least[Index(model)], ServersThatCan(problem.work, model)));
      added += static_cast<int>(then.size() - now.size());
    }
  }
  EXPECT_GT(added, 50);
}

TEST(ReplicasTest, WhereMemoryIsTooShortForAllThatServesIsKept) {
  ReplicaProblem problem = Alike(2, 2);
  problem.work.room.assign(2, 1);
  problem.present = {{0}, {1}};
  problem.least = {2, 2};
  const auto plan = MakeReplicaPlan(problem, Quick());
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_EQ(plan->places[0].size() + plan->places[1].size(), 2);
}

TEST(ReplicasTest, AProcessorAndItsAcceleratorAreOneServer) {
  ReplicaProblem problem = Alike(1, 3);
  problem.work.seconds << 0.3, 0.1, 0.9;
  problem.work.host = {0, 0, 1};
  problem.least = {3};
  const auto plan = MakeReplicaPlan(problem, Quick());
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_THAT(plan->places[0], ElementsAre(1, 2));
}

TEST(ReplicasTest, TheMethodKeepsReplicasApartToo) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    ReplicaProblem problem = Random(seed * 3 + 1);
    ReplicaOptions options = Quick();
    options.method = true;
    const auto plan = MakeReplicaPlan(problem, options);
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    for (int model = 0; model < problem.work.tasks(); ++model) {
      std::set<int> servers;
      for (const int place : plan->places[Index(model)])
        servers.insert(problem.work.host_of(place));
      EXPECT_EQ(std::ssize(servers),
                std::min(problem.least[Index(model)], ServersThatCan(problem.work, model)));
    }
  }
}

// By all ways to place the replicas, each shared out.
double Reference(const ReplicaProblem& problem, size_t model, Holders* places) {
  if (model == problem.least.size())
    return ShareOut(problem.work, *places, InEqualParts(problem.work, *places)).makespan_s();
  double best = kImpossible;
  for (int subset = 1; subset < 1 << problem.work.nodes(); ++subset) {
    std::vector<int> on;
    for (int node = 0; node < problem.work.nodes(); ++node) {
      if (((subset >> node) & 1) != 0) on.push_back(node);
    }
    if (std::ssize(on) != problem.least[model]) continue;
    (*places)[model] = on;
    best = std::min(best, Reference(problem, model + 1, places));
  }
  return best;
}

TEST(ReplicasTest, IsNearTheBestOfAllPlaces) {
  double sum = 0;
  constexpr int kProblems = 30;
  for (uint64_t seed = 0; seed < kProblems; ++seed) {
    RandomShape shape;
    shape.tasks = 3;
    shape.nodes = 4;
    ReplicaProblem problem;
    problem.work = RandomProblem(shape, seed);
    problem.work.seconds *= 0.1;
    problem.work.room.assign(4, int64_t{1} << 40);
    problem.least = {2, 1, 2};
    problem.most = problem.least;
    const auto plan = MakeReplicaPlan(problem, Quick());
    ASSERT_TRUE(plan.ok());
    Holders places(3);
    const double ratio = plan->score.makespan_s / Reference(problem, 0, &places);
    EXPECT_GE(ratio, 0.95) << seed << ": the reference is to be the best there is";
    EXPECT_LE(ratio, 1.6) << seed;
    sum += ratio;
  }
  EXPECT_LE(sum / kProblems, 1.2);
}

TEST(ReplicasTest, IsTheSameEachTime) {
  const ReplicaProblem problem = Random(7);
  EXPECT_EQ(MakeReplicaPlan(problem, Quick())->places, MakeReplicaPlan(problem, Quick())->places);
}

TEST(ReplicasTest, WhatIsNoProblemIsRefused) {
  const auto refused = [](const ReplicaProblem& problem) {
    return MakeReplicaPlan(problem, Quick()).status().code();
  };
  const ReplicaProblem good = Alike(2, 2);
  EXPECT_TRUE(MakeReplicaPlan(good, Quick()).ok());
  EXPECT_EQ(refused({}), Code::kInvalidArgument);
  ReplicaProblem bad = good;
  bad.least = {1};
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad.least = {1, 0};
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.present = {{0}, {2}};
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.work.host = {0};
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
  bad = good;
  bad.work.edges = {{0, 1, 0}};
  bad.work.bytes_per_s = bad.work.latency_s = Eigen::MatrixXd::Ones(2, 2);
  EXPECT_EQ(refused(bad), Code::kInvalidArgument);
}

}  // namespace
}  // namespace evenkeel
