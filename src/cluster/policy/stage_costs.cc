#include "cluster/policy/stage_costs.h"

#include "cluster/place.h"
#include "cluster/policy/cost_matrix.h"

namespace evenkeel {

LayeredModel LayersOf(const Task& task) {
  LayeredModel model;
  model.layers = task.layers;
  model.first_bytes = task.first_bytes;
  model.last_bytes = task.last_bytes;
  const int64_t bytes = task.memory_bytes - task.first_bytes - task.last_bytes;
  model.layer_bytes = bytes / task.layers + (bytes % task.layers > 0 ? 1 : 0);
  return model;
}

std::vector<double> LayerSeconds(const Task& task, int tokens,
                                 const std::vector<NodeState>& nodes) {
  Task layer = task;
  layer.kind = TaskKind::kLayers;
  layer.gflop = layer.gflop * tokens / task.layers;
  layer.gbytes /= task.layers;
  layer.overhead_s /= task.layers;
  layer.memory_bytes = 0;  // whether it fits is for the cut
  const CostMatrix costs = Roofline({layer}, nodes);
  std::vector<double> seconds;
  for (Eigen::Index place = 0; place < costs.seconds.cols(); ++place)
    seconds.push_back(costs.seconds(0, place));
  return seconds;
}

std::vector<StagePlace> StagePlacesFor(const Task& task, const std::vector<NodeState>& nodes) {
  const std::vector<double> seconds = LayerSeconds(task, 1, nodes);
  std::vector<StagePlace> list;
  for (const Place& place : PlacesOf(nodes)) {
    const double load_s = place.accelerator < 0 ? nodes[static_cast<size_t>(place.node)].load_s : 0;
    list.push_back({RoomOf(place, nodes), seconds[list.size()], load_s});
  }
  return list;
}

double HopSeconds(const Task& task, const Link& link) {
  return link.round_trip_s / 2 + static_cast<double>(task.boundary_bytes) / link.bytes_per_s;
}

}  // namespace evenkeel
