#include "cluster/policy/cost_matrix.h"

#include <gtest/gtest.h>

#include <cmath>

namespace evenkeel {
namespace {

NodeState Node(double gflops, double gb_s, int64_t mib) {
  NodeState node;
  node.total.gflops = gflops;
  node.total.memory_gb_s = gb_s;
  node.free_memory_bytes = mib << 20;
  return node;
}

Task Work(double gflop, double gbytes, int64_t mib) {
  Task task;
  task.name = "t";
  task.gflop = gflop;
  task.gbytes = gbytes;
  task.memory_bytes = mib << 20;
  return task;
}

TEST(CostMatrixTest, TheDearerOfComputeAndMemoryCounts) {
  Task slow = Work(10, 1, 0);
  slow.overhead_s = 0.5;
  const CostMatrix costs =
      Roofline({Work(10, 1, 0), Work(1, 10, 0), slow}, {Node(10, 10, 1), Node(5, 20, 1)});
  EXPECT_DOUBLE_EQ(costs.seconds(0, 0), 1);
  EXPECT_DOUBLE_EQ(costs.seconds(0, 1), 2);
  EXPECT_DOUBLE_EQ(costs.seconds(1, 0), 1);
  EXPECT_DOUBLE_EQ(costs.seconds(1, 1), 0.5);
  EXPECT_DOUBLE_EQ(costs.seconds(2, 0), 1.5);
}

TEST(CostMatrixTest, OnlyWhatIsFreeCounts) {
  NodeState busy = Node(10, 10, 1);
  busy.free_compute = 0.25;
  EXPECT_DOUBLE_EQ(Roofline({Work(10, 1, 0)}, {busy}).seconds(0, 0), 4);
}

TEST(CostMatrixTest, WhatIsShortIsSaid) {
  const CostMatrix costs = Roofline({Work(1, 1, 3 * 1024)}, {Node(1, 1, 1843), Node(1, 1, 4096)});
  EXPECT_TRUE(std::isinf(costs.seconds(0, 0)));
  EXPECT_EQ(costs.reasons[0][0], "1.2 GiB short");
  EXPECT_TRUE(std::isfinite(costs.seconds(0, 1)));
  EXPECT_EQ(costs.reasons[0][1], "");
}

TEST(CostMatrixTest, AnAcceleratorIsAPlaceOfItsOwn) {
  NodeState node = Node(10, 100, 1024);
  node.name = "a";
  node.total.accelerators.push_back({"EMULATED", 100, 1000, int64_t{512} << 20, 16});
  node.total.accelerators.push_back({"EMULATED", 50, 1000, int64_t{512} << 20, 16});
  Task task = Work(10, 0, 256);
  task.may_use_accelerator = true;
  const CostMatrix costs = Roofline({task, Work(10, 0, 256)}, {node});
  EXPECT_DOUBLE_EQ(costs.seconds(0, 0), 1);
  EXPECT_DOUBLE_EQ(costs.seconds(0, 1), 0.1);
  EXPECT_DOUBLE_EQ(costs.seconds(0, 2), 0.2);
  EXPECT_EQ(costs.reasons[1][1], "it runs on processors only");
  const std::vector<Place> places = PlacesOf({node});
  EXPECT_EQ(NameOf(places[0], {node}), "a");
  EXPECT_EQ(NameOf(places[1], {node}), "a/EMULATED");
  EXPECT_EQ(NameOf(places[2], {node}), "a/EMULATED-2");
  node.free_accelerator_bytes = {int64_t{128} << 20};
  task.may_use_processor = false;
  const CostMatrix tight = Roofline({task}, {node});
  EXPECT_EQ(tight.reasons[0][0], "it needs an accelerator");
  EXPECT_EQ(tight.reasons[0][1], "128.0 MiB short");
  EXPECT_EQ(RoomOf(places[2], {node}), int64_t{512} << 20);
}

TEST(CostMatrixTest, APowerBudgetIsOneMoreCapacity) {
  NodeState node = Node(10, 10, 1);
  node.total.power_w = 30;
  node.power_used_w = 25;
  Task task = Work(1, 1, 0);
  task.power_w = 12;
  EXPECT_EQ(Roofline({task}, {node}).reasons[0][0], "7 W short");
  task.power_w = 5;
  EXPECT_TRUE(std::isfinite(Roofline({task}, {node}).seconds(0, 0)));
}

TEST(CostMatrixTest, TheMethodAddsUpSharesOfWhatIsAvailable) {
  const MethodWeights weights{1, 2, 4};
  const CostMatrix costs = WeightedDemand({Work(5, 1, 256)}, {Node(10, 4, 1024)}, weights);
  EXPECT_NEAR(costs.seconds(0, 0), 1 * 0.5 + 2 * 0.25 + 4 * 0.25, 1e-6);
}

}  // namespace
}  // namespace evenkeel
