#include "cluster/models/apply_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "core/format.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Nodes = std::vector<PlannedNode>;
using Models = std::vector<PlannedModel>;

TEST(StepsToPlanTest, AModelServesOnTheNewNodeBeforeItGoesFromTheOld) {
  const auto steps = StepsToPlan({{"chat", 10, {"a"}, {"b"}}}, {{"a", 0}, {"b", 10}});
  ASSERT_TRUE(steps.ok()) << steps.status().message();
  EXPECT_THAT(*steps, ElementsAre(ApplyStep{true, "chat", "b"}, ApplyStep{false, "chat", "a"}));
}

TEST(StepsToPlanTest, WhereItIsAsWantedNothingIsDone) {
  const auto steps = StepsToPlan({{"chat", 10, {"a", "b"}, {"a", "b"}}, {"other", 5, {"a"}, {}}},
                                 {{"a", 0}, {"b", 0}});
  ASSERT_TRUE(steps.ok());
  EXPECT_TRUE(steps->empty());
}

TEST(StepsToPlanTest, AReplicaThatIsNotWantedMakesRoom) {
  // big can't come to b before small's second replica goes.
  const auto steps = StepsToPlan({{"big", 10, {"a"}, {"b"}}, {"small", 5, {"a", "b"}, {"a"}}},
                                 {{"a", 0}, {"b", 5}});
  ASSERT_TRUE(steps.ok());
  EXPECT_THAT(*steps, ElementsAre(ApplyStep{false, "small", "b"}, ApplyStep{true, "big", "b"},
                                  ApplyStep{false, "big", "a"}));
}

TEST(StepsToPlanTest, TwoThatChangePlacesUseAThirdNode) {
  const Models models = {{"x", 10, {"a"}, {"b"}}, {"y", 10, {"b"}, {"a"}}};
  const auto steps = StepsToPlan(models, {{"a", 0}, {"b", 0}, {"c", 10}});
  ASSERT_TRUE(steps.ok()) << steps.status().message();
  EXPECT_EQ(steps->front(), (ApplyStep{true, "x", "c", true}));
  const auto stuck = StepsToPlan(models, {{"a", 0}, {"b", 0}, {"c", 9}});
  EXPECT_EQ(stuck.status().code(), Code::kUnavailable);
  EXPECT_THAT(stuck.status().message(), HasSubstr("'x'"));
  EXPECT_THAT(stuck.status().message(), HasSubstr("node 'b' has 0B free"));
}

TEST(StepsToPlanTest, WhatIsNotThereIsNamed) {
  EXPECT_THAT(StepsToPlan({{"x", 1, {"a"}, {"nas"}}}, {{"a", 9}}).status().message(),
              HasSubstr("'nas'"));
  EXPECT_EQ(StepsToPlan({{"x", 1, {}, {"a"}}}, {{"a", 9}}).status().code(), Code::kInvalidArgument);
}

TEST(StepsToPlanTest, OfTwoReplicasNeverOnlyOneServesWhereANodeMoreMakesThatPossible) {
  // x goes to where y and z are, and they to where x is; only e has room.
  const Models models = {
      {"x", 10, {"a", "b"}, {"c", "d"}}, {"y", 10, {"c"}, {"a"}}, {"z", 10, {"d"}, {"b"}}};
  const Nodes nodes = {{"a", 0}, {"b", 0}, {"c", 0}, {"d", 0}, {"e", 10}};
  const auto steps = StepsToPlan(models, nodes);
  ASSERT_TRUE(steps.ok()) << steps.status().message();
  std::set<std::string> x = {"a", "b"};
  for (const ApplyStep& step : *steps) {
    if (step.model != "x") continue;
    step.load ? static_cast<void>(x.insert(step.node)) : static_cast<void>(x.erase(step.node));
    EXPECT_GE(x.size(), 2) << step.node;
  }
  EXPECT_THAT(x, ElementsAre("c", "d"));
  // Without it one of the two makes room.
  EXPECT_TRUE(StepsToPlan(models, {{"a", 0}, {"b", 0}, {"c", 0}, {"d", 0}}).ok());
}

// Random clusters: where models are, and where they are to be, fits each node's memory.
struct Problem {
  Models models;
  Nodes nodes;
};

Problem RandomProblem(uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](int most) {
    return static_cast<int>(random() % static_cast<uint32_t>(most));
  };
  Problem problem;
  const int nodes = 1 + below(5), models = 1 + below(7);
  std::map<std::string, int64_t> now, then;
  for (int i = 0; i < nodes; ++i) problem.nodes.push_back({fmt::format("n{}", i), 0});
  for (int i = 0; i < models; ++i) {
    PlannedModel model{fmt::format("m{}", i), 1 + below(10), {}, {}};
    for (auto* where : {&model.serving, &model.wanted}) {
      const int count = 1 + below(nodes);
      for (int k = 0; k < count; ++k) where->insert(fmt::format("n{}", below(nodes)));
    }
    for (const auto& node : model.serving) now[node] += model.memory_bytes;
    for (const auto& node : model.wanted) then[node] += model.memory_bytes;
    problem.models.push_back(std::move(model));
  }
  for (PlannedNode& node : problem.nodes)
    node.free_memory_bytes = std::max(now[node.name], then[node.name]) - now[node.name] + below(6);
  return problem;
}

constexpr uint32_t kSeeds = 3000;

TEST(StepsToPlanTest, NoModelIsEverWithoutAReplicaAndNoNodeOverfull) {
  uint32_t found = 0;
  for (uint32_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = RandomProblem(seed);
    const auto steps = StepsToPlan(problem.models, problem.nodes);
    if (!steps.ok()) {
      ASSERT_EQ(steps.status().code(), Code::kUnavailable);
      continue;
    }
    ++found;
    std::map<std::string, int64_t> free;
    std::map<std::string, PlannedModel> models;
    for (const PlannedNode& node : problem.nodes) free[node.name] = node.free_memory_bytes;
    for (const PlannedModel& model : problem.models) models[model.name] = model;
    for (const ApplyStep& step : *steps) {
      PlannedModel& model = models.at(step.model);
      if (step.load) {
        ASSERT_TRUE(model.serving.insert(step.node).second);
        free[step.node] -= model.memory_bytes;
      } else {
        ASSERT_EQ(model.serving.erase(step.node), 1U);
        free[step.node] += model.memory_bytes;
      }
      ASSERT_FALSE(model.serving.empty()) << step.model;
      ASSERT_GE(free[step.node], 0) << step.node;
    }
    for (const auto& [name, model] : models) ASSERT_EQ(model.serving, model.wanted) << name;
  }
  // Most of them have an order; a planner that gives up on all would pass the rest of this test.
  EXPECT_GT(found, kSeeds * 8 / 10) << found;
}

TEST(StepsToPlanTest, WithRoomForBothOldAndNewThereIsAlwaysAnOrder) {
  for (uint32_t seed = 0; seed < kSeeds; ++seed) {
    Problem problem = RandomProblem(seed);
    for (PlannedNode& node : problem.nodes) node.free_memory_bytes = 1000;
    const auto steps = StepsToPlan(problem.models, problem.nodes);
    ASSERT_TRUE(steps.ok()) << seed;
    // As many stay as serve now and are to serve.
    for (const PlannedModel& model : problem.models) {
      size_t serving = model.serving.size();
      for (const ApplyStep& step : *steps) {
        if (step.model != model.name) continue;
        step.load ? ++serving : --serving;
        EXPECT_GE(serving, std::min(model.serving.size(), model.wanted.size())) << seed;
      }
    }
  }
}

}  // namespace
}  // namespace evenkeel
