#include "cluster/task.h"

#include <cmath>
#include <map>
#include <utility>

#include "core/cycle.h"
#include "core/format.h"

namespace evenkeel {
namespace {

Status CheckTask(const Task& task) {
  if (task.name.empty()) return InvalidArgument("a task without a name");
  const struct {
    const char* what;
    double value;
  } demands[] = {{"gflop", task.gflop},
                 {"gbytes", task.gbytes},
                 {"memory", static_cast<double>(task.memory_bytes)},
                 {"overhead", task.overhead_s},
                 {"power", task.power_w}};
  for (const auto& [what, value] : demands) {
    if (!(value >= 0) || !std::isfinite(value))
      return InvalidArgument("task '{}': {}: expected a number of at least 0, got {}", task.name,
                             what, value);
  }
  if (!task.may_use_processor && !task.may_use_accelerator)
    return InvalidArgument("task '{}' may run on nothing", task.name);
  return Status::Ok();
}

}  // namespace

std::string_view NameOf(TaskKind kind) {
  switch (kind) {
    case TaskKind::kReplica: return "replica";
    case TaskKind::kLanguageReplica: return "language replica";
    case TaskKind::kSequence: return "sequence";
    case TaskKind::kRequest: return "request";
    case TaskKind::kLayers: return "layers";
    case TaskKind::kStep: return "step";
  }
  return "?";
}

Status CheckGraph(const TaskGraph& graph) {
  if (graph.tasks.empty()) return InvalidArgument("a graph without tasks");
  std::map<std::string, int> index;
  for (size_t i = 0; i < graph.tasks.size(); ++i) {
    EK_RETURN_IF_ERROR(CheckTask(graph.tasks[i]));
    if (!index.emplace(graph.tasks[i].name, static_cast<int>(i)).second)
      return InvalidArgument("task '{}' is there twice", graph.tasks[i].name);
  }
  std::vector<std::pair<int, int>> edges;
  for (const TaskDependency& one : graph.dependencies) {
    for (const std::string& name : {one.before, one.after}) {
      if (!index.contains(name))
        return InvalidArgument("'{}' before '{}': there is no task '{}'", one.before, one.after,
                               name);
    }
    if (one.before == one.after)
      return InvalidArgument("task '{}' is said to need itself", one.before);
    if (one.bytes < 0)
      return InvalidArgument("'{}' before '{}': expected at least 0 bytes, got {}", one.before,
                             one.after, one.bytes);
    edges.emplace_back(index.at(one.before), index.at(one.after));
  }
  std::vector<std::string> circle;
  for (const int task : FindCycle(static_cast<int>(graph.tasks.size()), edges))
    circle.push_back(graph.tasks[static_cast<size_t>(task)].name);
  if (!circle.empty())
    return InvalidArgument("tasks wait for each other in a circle: {} -> {}",
                           fmt::join(circle, " -> "), circle.front());
  return Status::Ok();
}

}  // namespace evenkeel
