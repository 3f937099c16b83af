#include "cluster/policy/cost_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace evenkeel {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();

std::string Bytes(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  return mib >= 1024 ? fmt::format("{:.1f} GiB", mib / 1024) : fmt::format("{:.0f} MiB", mib);
}

struct Capacity {
  double gflops = 0, gb_s = 0;
  int64_t memory = 0;
};

Capacity ProcessorOf(const NodeState& node) {
  return {node.total.gflops * node.free_compute, node.total.memory_gb_s * node.free_compute,
          node.free_memory_bytes};
}

// What the task would run on, one after the other, with why it can't where it can't.
template <typename Price>
double Least(const Task& task, const NodeState& node, const Price& price, std::string* reason) {
  double least = kImpossible;
  const auto look = [&](const Capacity& on, const std::string& where) {
    if (task.memory_bytes > on.memory) {
      *reason += fmt::format("{}{} short on the {}", reason->empty() ? "" : ", ",
                             Bytes(task.memory_bytes - on.memory), where);
    } else if ((task.gflop > 0 && on.gflops <= 0) || (task.gbytes > 0 && on.gb_s <= 0)) {
      *reason += fmt::format("{}the {} was not measured", reason->empty() ? "" : ", ", where);
    } else {
      least = std::min(least, price(on));
    }
  };
  if (task.may_use_processor) look(ProcessorOf(node), "processor");
  if (task.may_use_accelerator) {
    if (node.total.accelerators.empty() && !task.may_use_processor)
      *reason = "it has no accelerator";
    for (size_t i = 0; i < node.total.accelerators.size(); ++i) {
      const AcceleratorResources& one = node.total.accelerators[i];
      const int64_t free = i < node.free_accelerator_bytes.size() ? node.free_accelerator_bytes[i]
                                                                  : one.memory_bytes;
      look({one.gflops, one.memory_gb_s, free}, one.backend);
    }
  }
  const double power_left =
      node.total.power_w ? *node.total.power_w - node.power_used_w : kImpossible;
  if (task.power_w > power_left) {
    least = kImpossible;
    *reason = fmt::format("{:.0f} W short", task.power_w - power_left);
  }
  if (least < kImpossible) reason->clear();
  return least;
}

template <typename PriceOf>
CostMatrix Matrix(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes,
                  const PriceOf& price_of) {
  CostMatrix out;
  out.seconds.resize(static_cast<Eigen::Index>(tasks.size()),
                     static_cast<Eigen::Index>(nodes.size()));
  out.reasons.assign(tasks.size(), std::vector<std::string>(nodes.size()));
  for (size_t task = 0; task < tasks.size(); ++task) {
    for (size_t node = 0; node < nodes.size(); ++node) {
      out.seconds(static_cast<Eigen::Index>(task), static_cast<Eigen::Index>(node)) =
          Least(tasks[task], nodes[node], price_of(tasks[task]), &out.reasons[task][node]);
    }
  }
  return out;
}

}  // namespace

CostMatrix Roofline(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes) {
  constexpr double kLeast = 1e-9;  // a task that demands nothing still takes a turn
  return Matrix(tasks, nodes, [](const Task& task) {
    return [&task](const Capacity& on) {
      const double compute = task.gflop > 0 ? task.gflop / on.gflops : 0;
      const double memory = task.gbytes > 0 ? task.gbytes / on.gb_s : 0;
      return std::max(kLeast, task.overhead_s + std::max(compute, memory));
    };
  });
}

CostMatrix WeightedDemand(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes,
                          const MethodWeights& weights) {
  return Matrix(tasks, nodes, [&weights](const Task& task) {
    return [&task, &weights](const Capacity& on) {
      double sum = 1e-9;
      if (task.gflop > 0) sum += weights.compute * task.gflop / on.gflops;
      if (task.gbytes > 0) sum += weights.bandwidth * task.gbytes / on.gb_s;
      if (task.memory_bytes > 0)
        sum += weights.memory * static_cast<double>(task.memory_bytes) /
               static_cast<double>(on.memory);
      return sum;
    };
  });
}

}  // namespace evenkeel
