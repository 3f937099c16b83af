#include "cluster/task.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/cycle.h"

namespace evenkeel {
namespace {

TaskGraph Chain() {
  TaskGraph graph;
  for (const char* name : {"embed", "rerank", "generate"}) {
    Task task;
    task.name = name;
    task.gflop = 1;
    graph.tasks.push_back(task);
  }
  graph.dependencies = {{"embed", "rerank", 100}, {"rerank", "generate", 200}};
  return graph;
}

void ExpectRefused(const TaskGraph& graph, const std::string& words) {
  const Status status = CheckGraph(graph);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
}

TEST(TaskGraphTest, AChainIsOne) { EXPECT_TRUE(CheckGraph(Chain()).ok()); }

TEST(TaskGraphTest, ACircleIsRefusedByItsNames) {
  TaskGraph graph = Chain();
  graph.dependencies.push_back({"generate", "embed", 0});
  ExpectRefused(graph, "embed -> rerank -> generate -> embed");
}

TEST(TaskGraphTest, WhatDanglesIsRefused) {
  TaskGraph graph = Chain();
  graph.dependencies.push_back({"generate", "translate", 0});
  ExpectRefused(graph, "there is no task 'translate'");
  graph = Chain();
  graph.dependencies.push_back({"embed", "embed", 0});
  ExpectRefused(graph, "'embed' is said to need itself");
}

TEST(TaskGraphTest, WhatIsNoTaskIsRefused) {
  ExpectRefused({}, "without tasks");
  TaskGraph graph = Chain();
  graph.tasks[1].name = "embed";
  ExpectRefused(graph, "'embed' is there twice");
  graph = Chain();
  graph.tasks[0].name.clear();
  ExpectRefused(graph, "without a name");
  for (const double wrong :
       {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    graph = Chain();
    graph.tasks[2].gflop = wrong;
    ExpectRefused(graph, "task 'generate': gflop");
  }
  graph = Chain();
  graph.tasks[2].may_use_processor = false;
  ExpectRefused(graph, "may run on nothing");
  graph = Chain();
  graph.dependencies[0].bytes = -1;
  ExpectRefused(graph, "at least 0 bytes");
}

TEST(CycleTest, IsFoundOnlyWhereThereIsOne) {
  EXPECT_TRUE(FindCycle(0, {}).empty());
  EXPECT_TRUE(FindCycle(4, {{0, 1}, {0, 2}, {1, 3}, {2, 3}}).empty());
  EXPECT_EQ(FindCycle(2, {{1, 1}}), (std::vector<int>{1}));
  EXPECT_EQ(FindCycle(5, {{0, 1}, {1, 2}, {2, 3}, {3, 1}}), (std::vector<int>{1, 2, 3}));
}

}  // namespace
}  // namespace evenkeel
