#include "plan_cuts.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cluster/place.h"
#include "cluster/policy/cost_matrix.h"
#include "cluster/policy/placement.h"
#include "cluster/policy/stage_costs.h"
#include "cluster/policy/stages.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

// Tasks by size that may be cut and fit nowhere whole.
std::vector<size_t> TooLarge(const ClusterFile& file, const CostMatrix& whole) {
  std::vector<size_t> tasks;
  for (size_t i = 0; i < file.graph.tasks.size(); ++i) {
    if (file.graph.tasks[i].layers >= 2 &&
        !(whole.seconds.row(static_cast<Eigen::Index>(i)).minCoeff() < kImpossible))
      tasks.push_back(i);
  }
  std::ranges::stable_sort(tasks, std::greater<>(),
                           [&](size_t i) { return file.graph.tasks[i].memory_bytes; });
  return tasks;
}

void Take(const Stage& stage, const Place& place, std::vector<NodeState>* nodes) {
  NodeState& node = (*nodes)[static_cast<size_t>(place.node)];
  if (place.accelerator < 0) {
    node.free_memory_bytes -= stage.bytes;
    node.load_s += stage.seconds;
    return;
  }
  auto& free = node.free_accelerator_bytes;
  for (size_t i = free.size(); i < node.total.accelerators.size(); ++i)
    free.push_back(node.total.accelerators[i].memory_bytes);
  free[static_cast<size_t>(place.accelerator)] -= stage.bytes;
}

std::string Why(const std::vector<std::string>& reasons, const std::vector<NodeState>& nodes) {
  const std::vector<Place> places = PlacesOf(nodes);
  std::string why = "no node holds it whole (";
  for (size_t i = 0; i < places.size(); ++i)
    why += fmt::format("{}{}: {}", i == 0 ? "" : "; ", NameOf(places[i], nodes), reasons[i]);
  return why + "); these are the fewest stages that hold it, and of those the ones of least period";
}

Json Describe(const Task& task, const StagePlan& plan, double hop_s, const std::string& why,
              const std::vector<NodeState>& nodes) {
  const std::vector<Place> places = PlacesOf(nodes);
  Json stages = Json::array();
  for (const Stage& stage : plan.stages) {
    const int last = stage.first + stage.layers - 1;
    stages.push_back({{"name", fmt::format("{} layers {}-{}", task.name, stage.first, last)},
                      {"node", NameOf(places[static_cast<size_t>(stage.place)], nodes)},
                      {"first", stage.first},
                      {"last", last},
                      {"memory_bytes", stage.bytes},
                      {"seconds", stage.seconds}});
  }
  return {{"task", task.name},
          {"layers", task.layers},
          {"period_s", plan.period_s},
          {"latency_s", plan.latency_s},
          {"hop_s", hop_s},
          {"stages", std::move(stages)},
          {"why", why}};
}

// The file without those tasks: rows that follow move up.
ClusterFile Without(const ClusterFile& file, const std::vector<size_t>& tasks) {
  ClusterFile rest;
  rest.nodes = file.nodes;
  rest.link = file.link;
  std::map<int, int> index;
  std::map<std::string, bool> gone;
  for (size_t i = 0; i < file.graph.tasks.size(); ++i) {
    const Task& task = file.graph.tasks[i];
    gone[task.name] = std::ranges::find(tasks, i) != tasks.end();
    if (gone[task.name]) continue;
    index[static_cast<int>(i)] = static_cast<int>(rest.graph.tasks.size());
    rest.graph.tasks.push_back(task);
  }
  for (const TaskDependency& one : file.graph.dependencies) {
    if (!gone[one.before] && !gone[one.after]) rest.graph.dependencies.push_back(one);
  }
  const auto keep = [&index](const auto& from, auto* to) {
    for (auto one : from) {
      const auto at = index.find(one.task);
      if (at == index.end()) continue;
      one.task = at->second;
      to->push_back(std::move(one));
    }
  };
  keep(file.measured, &rest.measured);
  keep(file.corrections, &rest.corrections);
  return rest;
}

}  // namespace

Result<CutModels> CutWhatFitsNowhere(const ClusterFile& file) {
  CutModels out;
  const CostMatrix whole = Roofline(file.graph.tasks, file.nodes);
  const std::vector<size_t> tasks = TooLarge(file, whole);
  if (tasks.empty()) {
    out.rest = file;
    return out;
  }
  out.rest = Without(file, tasks);
  const std::vector<Place> places = PlacesOf(file.nodes);
  for (const size_t i : tasks) {
    const Task& task = file.graph.tasks[i];
    const double hop_s = HopSeconds(task, file.link);
    const auto plan = CutIntoStages(LayersOf(task), StagePlacesFor(task, out.rest.nodes), hop_s);
    if (!plan.ok())
      return Unavailable("task '{}' fits no node, nor cut over all: {}", task.name,
                         plan.status().message());
    for (const Stage& stage : plan->stages)
      Take(stage, places[static_cast<size_t>(stage.place)], &out.rest.nodes);
    out.cuts.push_back(Describe(task, *plan, hop_s, Why(whole.reasons[i], file.nodes), file.nodes));
  }
  return out;
}

}  // namespace evenkeel
