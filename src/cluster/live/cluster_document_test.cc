#include "cluster/live/cluster_document.h"

#include <gtest/gtest.h>

#include "cluster/cluster_file.h"

namespace evenkeel {
namespace {

ReplicaTable::NodeView Node(const std::string& name, double cores, double gflops) {
  ReplicaTable::NodeView node;
  node.name = name;
  node.known = true;
  node.round_trip_s = 0.0004;
  node.bytes_per_s = 1e8;
  node.figures.node = name;
  node.figures.cores = cores;
  ResourceVector& has = node.figures.resources;
  has.cores = cores;
  has.gflops = gflops;
  has.memory_gb_s = 10;
  has.memory_bytes = int64_t{8} << 30;
  has.disk_bytes = 1000;
  node.figures.free_memory_bytes = int64_t{4} << 30;
  return node;
}

TEST(ClusterDocumentTest, ThePlannerReadsIt) {
  std::vector<ReplicaTable::NodeView> nodes{Node("a", 2, 100), Node("b", 1, 20)};
  nodes[0].figures.models.push_back({.name = "m",
                                     .version = "1",
                                     .row_s = 0.02,
                                     .rate_rps = 30,
                                     .memory_bytes = int64_t{1} << 28});
  nodes[1].figures.models.push_back({.name = "chat",
                                     .version = "1",
                                     .language = true,
                                     .row_s = 0.001,
                                     .rate_rps = 0.5,
                                     .call_rows = 200});
  const auto file = ParseClusterFile(ClusterDocument(nodes).dump());
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_EQ(file->nodes.size(), 2);
  EXPECT_EQ(file->nodes[0].free_memory_bytes, (int64_t{4} << 30) + (int64_t{1} << 28));
  EXPECT_EQ(file->link.bytes_per_s, 1e8);
  ASSERT_EQ(file->graph.tasks.size(), 2);
  EXPECT_EQ(file->graph.tasks[0].kind, TaskKind::kLanguageReplica);
  EXPECT_EQ(file->graph.tasks[1].name, "m");
  // Half an answer of 200 tokens of 1 ms a second, of a core that does 20 GFLOP/s.
  EXPECT_NEAR(file->graph.tasks[0].gflop, 2, 1e-9);
  // 30 rows of 20 ms a second, of a core that does 50 GFLOP/s.
  EXPECT_NEAR(file->graph.tasks[1].gflop, 30, 1e-9);
  ASSERT_EQ(file->measured.size(), 2);
  EXPECT_NEAR(file->measured[1].seconds, 0.3, 1e-12);
}

TEST(ClusterDocumentTest, AModelStandsWithWhereItServesAndHowOftenItIsToStay) {
  std::vector<ReplicaTable::NodeView> nodes{Node("a", 2, 100), Node("b", 1, 20)};
  for (auto& node : nodes) {
    node.figures.models.push_back(
        {.name = "m", .version = "1", .row_s = 0.02, .rate_rps = 30, .memory_bytes = 1 << 20});
  }
  nodes[0].figures.models.push_back(
      {.name = "m", .version = "2", .row_s = 0.02, .rate_rps = 1, .memory_bytes = 1 << 20});
  nodes[1].figures.models.push_back({.name = "n", .version = "1", .row_s = 0.02});
  nodes[1].figures.wishes = {{"n", 2, 5}};
  const auto document = ClusterDocument(nodes);
  EXPECT_EQ(document["tasks"][1]["asked"], 2);
  const auto file = ParseClusterFile(document.dump());
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_EQ(file->graph.tasks.size(), 2) << "a replica more is no task more";
  EXPECT_EQ(file->graph.tasks[0].replicas, 2);
  EXPECT_EQ(file->graph.tasks[0].serving, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(file->graph.tasks[1].replicas, 2);
  EXPECT_EQ(file->graph.tasks[1].serving, (std::vector<std::string>{"b"}));
}

TEST(ClusterDocumentTest, WhatServesHasItsRoomAlsoWhereItTakesMoreElsewhere) {
  std::vector<ReplicaTable::NodeView> nodes{Node("a", 2, 100), Node("b", 1, 20)};
  nodes[0].figures.models.push_back(
      {.name = "m", .version = "1", .row_s = 0.02, .memory_bytes = int64_t{400} << 20});
  nodes[1].figures.models.push_back(
      {.name = "m", .version = "1", .row_s = 0.02, .memory_bytes = int64_t{100} << 20});
  nodes[1].figures.free_memory_bytes = int64_t{50} << 20;
  const auto file = ParseClusterFile(ClusterDocument(nodes).dump());
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->graph.tasks.at(0).memory_bytes, int64_t{400} << 20);
  EXPECT_EQ(file->nodes.at(1).free_memory_bytes, int64_t{450} << 20);
}

TEST(ClusterDocumentTest, AModelThatNobodyAsksForIsPlannedByItsMemory) {
  std::vector<ReplicaTable::NodeView> nodes{Node("a", 2, 100)};
  nodes[0].figures.models.push_back(
      {.name = "m", .version = "1", .row_s = 0.02, .memory_bytes = int64_t{1} << 28});
  const auto file = ParseClusterFile(ClusterDocument(nodes).dump());
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_TRUE(file->measured.empty());
  EXPECT_EQ(file->graph.tasks[0].memory_bytes, int64_t{1} << 28);
}

TEST(ClusterDocumentTest, WhatIsNotKnownIsLeftOut) {
  std::vector<ReplicaTable::NodeView> nodes{Node("a", 2, 100), Node("b", 1, 0), Node("c", 1, 9)};
  nodes[2].suspect = true;
  const auto document = ClusterDocument(nodes);
  EXPECT_EQ(document["nodes"].size(), 1);
  EXPECT_TRUE(document["tasks"].empty());
  EXPECT_FALSE(document.contains("measured"));
}

}  // namespace
}  // namespace evenkeel
