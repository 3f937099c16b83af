#include "cluster/policy/stage_costs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace evenkeel {
namespace {

Task Giant() {
  Task task;
  task.name = "giant";
  task.layers = 10;
  task.gflop = 20;
  task.gbytes = 5;
  task.overhead_s = 0.01;
  task.memory_bytes = 1030;
  task.first_bytes = 20;
  task.last_bytes = 7;
  task.boundary_bytes = 1000;
  return task;
}

// A processor, and an accelerator that the task may not use.
std::vector<NodeState> OneNode() {
  NodeState node;
  node.name = "a";
  node.total.gflops = 100;
  node.total.memory_gb_s = 10;
  node.total.memory_bytes = 2000;
  node.free_memory_bytes = 1500;
  node.load_s = 0.25;
  node.total.accelerators.push_back({"CUDA", 1000, 100, 500, 0});
  return {node};
}

TEST(StageCostsTest, LayersShareWhatNoEndNeedsAlone) {
  const LayeredModel model = LayersOf(Giant());
  EXPECT_EQ(model.layers, 10);
  EXPECT_EQ(model.first_bytes, 20);
  EXPECT_EQ(model.last_bytes, 7);
  EXPECT_EQ(model.layer_bytes, 101);  // 100.3, and none is left out
  Task task = Giant();
  task.memory_bytes = 27 + 1000;
  EXPECT_EQ(LayersOf(task).layer_bytes, 100);
  task.memory_bytes = std::numeric_limits<int64_t>::max();
  task.first_bytes = task.last_bytes = 0;
  EXPECT_EQ(LayersOf(task).layer_bytes, task.memory_bytes / 10 + 1);
}

TEST(StageCostsTest, AStepOfManyTokensIsHeldUpByComputingAndOfOneByMemory) {
  const std::vector<double> one = LayerSeconds(Giant(), 1, OneNode());
  ASSERT_EQ(one.size(), 2u);
  EXPECT_NEAR(one[0], 0.001 + 0.5 / 10, 1e-12);  // 0.5 GB, 2 GFLOP take 0.02 s
  EXPECT_TRUE(std::isinf(one[1]));
  EXPECT_NEAR(LayerSeconds(Giant(), 100, OneNode())[0], 0.001 + 200.0 / 100, 1e-12);
}

TEST(StageCostsTest, PlacesHaveTheRoomAndTheLoadOfNow) {
  Task task = Giant();
  task.may_use_accelerator = true;
  std::vector<NodeState> nodes = OneNode();
  nodes[0].free_accelerator_bytes = {300};
  const std::vector<StagePlace> places = StagePlacesFor(task, nodes);
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].room, 1500);
  EXPECT_DOUBLE_EQ(places[0].present_s, 0.25);
  EXPECT_EQ(places[1].room, 300);
  EXPECT_DOUBLE_EQ(places[1].present_s, 0);
  EXPECT_NEAR(places[1].layer_s, 0.001 + 0.5 / 100, 1e-12);
}

TEST(StageCostsTest, AHopIsHalfARoundTripAndTheBoundary) {
  Link link;
  link.bytes_per_s = 1e6;
  link.round_trip_s = 0.004;
  EXPECT_NEAR(HopSeconds(Giant(), link), 0.002 + 0.001, 1e-12);
}

}  // namespace
}  // namespace evenkeel
