#include "cluster/policy/cost_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/human_bytes.h"

namespace evenkeel {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kLeast = 1e-9;  // a task that demands nothing still takes a turn

const NodeState& NodeOf(const Place& place, const std::vector<NodeState>& nodes) {
  return nodes[static_cast<size_t>(place.node)];
}

struct Capacity {
  double gflops = 0, gb_s = 0;
  int64_t memory = 0;
};

Capacity CapacityOf(const Place& place, const std::vector<NodeState>& nodes) {
  const NodeState& node = NodeOf(place, nodes);
  if (place.accelerator < 0)
    return {node.total.gflops * node.free_compute, node.total.memory_gb_s * node.free_compute,
            node.free_memory_bytes};
  const auto& one = node.total.accelerators[static_cast<size_t>(place.accelerator)];
  return {one.gflops, one.memory_gb_s, RoomOf(place, nodes)};
}

// Why the task can't be there; "": it can.
std::string Obstacle(const Task& task, const Place& place, const std::vector<NodeState>& nodes) {
  if (place.accelerator < 0 && !task.may_use_processor) return "it needs an accelerator";
  if (place.accelerator >= 0 && !task.may_use_accelerator) return "it runs on processors only";
  const Capacity on = CapacityOf(place, nodes);
  if (task.memory_bytes > on.memory)
    return HumanBytes(static_cast<double>(task.memory_bytes - on.memory)) + " short";
  if (task.gflop > 0 && on.gflops <= 0) return "its GFLOP/s are not known";
  if (task.gbytes > 0 && on.gb_s <= 0) return "its memory bandwidth is not known";
  const NodeState& node = NodeOf(place, nodes);
  if (!node.total.power_w) return "";
  const double left = *node.total.power_w - node.power_used_w;
  return task.power_w > left ? fmt::format("{:.0f} W short", task.power_w - left) : "";
}

template <typename Price>
CostMatrix Matrix(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes,
                  const Price& price) {
  const std::vector<Place> places = PlacesOf(nodes);
  CostMatrix out;
  out.seconds.resize(static_cast<Eigen::Index>(tasks.size()),
                     static_cast<Eigen::Index>(places.size()));
  out.reasons.resize(tasks.size());
  for (size_t task = 0; task < tasks.size(); ++task) {
    for (size_t place = 0; place < places.size(); ++place) {
      out.reasons[task].push_back(Obstacle(tasks[task], places[place], nodes));
      out.seconds(static_cast<Eigen::Index>(task), static_cast<Eigen::Index>(place)) =
          out.reasons[task].back().empty() ? price(tasks[task], CapacityOf(places[place], nodes))
                                           : kInfinite;
    }
  }
  return out;
}

}  // namespace

CostMatrix Roofline(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes) {
  return Matrix(tasks, nodes, [](const Task& task, const Capacity& on) {
    const double compute = task.gflop > 0 ? task.gflop / on.gflops : 0;
    const double memory = task.gbytes > 0 ? task.gbytes / on.gb_s : 0;
    return std::max(kLeast, task.overhead_s + std::max(compute, memory));
  });
}

CostMatrix WeightedDemand(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes,
                          const MethodWeights& weights) {
  return Matrix(tasks, nodes, [&weights](const Task& task, const Capacity& on) {
    double sum = kLeast;
    if (task.gflop > 0) sum += weights.compute * task.gflop / on.gflops;
    if (task.gbytes > 0) sum += weights.bandwidth * task.gbytes / on.gb_s;
    if (task.memory_bytes > 0)
      sum +=
          weights.memory * static_cast<double>(task.memory_bytes) / static_cast<double>(on.memory);
    return sum;
  });
}

}  // namespace evenkeel
