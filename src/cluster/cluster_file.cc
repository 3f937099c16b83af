#include "cluster/cluster_file.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "cluster/place.h"
#include "core/format.h"
#include "core/human_bytes.h"
#include "core/json_fields.h"
#include "core/parse.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostBytes = size_t{64} << 20;
constexpr size_t kMostNodes = 1000;
constexpr int64_t kMostTasks = 100'000;
constexpr int64_t kMostReplicas = 1000;
constexpr int64_t kMostLayers = 10'000;
constexpr int kDeepest = 5;

Result<NodeState> ParseNode(const Json& json, const std::string& place) {
  JsonFields fields(json, place,
                    {"name", "cores", "gflops", "memory_gb_s", "memory", "free_memory", "disk",
                     "free_compute", "load_s", "accelerators", "power_w", "power_used_w"});
  NodeState node;
  node.name = fields.Text("name", "", true);
  node.total.cores = fields.Number("cores", 1);
  node.total.gflops = fields.Number("gflops", 0, true);
  node.total.memory_gb_s = fields.Number("memory_gb_s", 0, true);
  node.total.memory_bytes = fields.Bytes("memory", 0, true);
  node.free_memory_bytes = fields.Bytes("free_memory", node.total.memory_bytes);
  node.total.disk_bytes = fields.Bytes("disk", 0);
  node.free_compute = fields.Number("free_compute", 1, false, 1e-6);
  node.load_s = fields.Number("load_s", 0);
  node.power_used_w = fields.Number("power_used_w", 0);
  if (json.is_object() && json.contains("power_w"))
    node.total.power_w = fields.Number("power_w", 0);
  const Json* const accelerators = fields.List("accelerators");
  EK_RETURN_IF_ERROR(fields.status());
  if (node.free_compute > 1)
    return InvalidArgument("{}.free_compute: expected at most 1, got {}", place, node.free_compute);
  if (accelerators == nullptr) return node;
  for (size_t i = 0; i < accelerators->size(); ++i) {
    JsonFields one((*accelerators)[i], fmt::format("{}.accelerators[{}]", place, i),
                   {"backend", "gflops", "memory_gb_s", "memory", "cores"});
    AcceleratorResources accelerator;
    accelerator.backend = one.Text("backend", "", true);
    accelerator.gflops = one.Number("gflops", 0, true);
    accelerator.memory_gb_s = one.Number("memory_gb_s", 0, true);
    accelerator.memory_bytes = one.Bytes("memory", 0, true);
    accelerator.cores = one.Number("cores", 0);
    EK_RETURN_IF_ERROR(one.status());
    node.total.accelerators.push_back(accelerator);
  }
  return node;
}

Result<TaskKind> KindOf(const std::string& name, const std::string& place) {
  for (const TaskKind kind : {TaskKind::kReplica, TaskKind::kLanguageReplica, TaskKind::kSequence,
                              TaskKind::kRequest, TaskKind::kLayers, TaskKind::kStep}) {
    if (NameOf(kind) == name) return kind;
  }
  return InvalidArgument(
      "{}.kind: expected replica, language replica, sequence, request, layers or step, got {}",
      place, Excerpt(name));
}

using Groups = std::map<std::string, std::vector<int>>;  // tasks by the name in the file

Status CheckLayers(const Task& task, const std::string& place) {
  if (task.layers == 0) {
    if (task.first_bytes > 0 || task.last_bytes > 0 || task.boundary_bytes > 0)
      return InvalidArgument("{}: first, last and boundary are for tasks with layers", place);
    return Status::Ok();
  }
  // Without a sum, which might be too large.
  if (task.first_bytes > task.memory_bytes ||
      task.last_bytes > task.memory_bytes - task.first_bytes)
    return InvalidArgument("{}: first and last: expected parts of its memory, {}", place,
                           HumanBytes(static_cast<double>(task.memory_bytes)));
  return Status::Ok();
}

Status AddTasks(const Json& json, const std::string& place, TaskGraph* graph, Groups* groups) {
  JsonFields fields(json, place,
                    {"name", "kind", "gflop", "gbytes", "memory", "overhead", "power_w", "count",
                     "on", "replicas", "asked", "serving", "layers", "first", "last", "boundary"});
  Task task;
  task.name = fields.Text("name", "", true);
  const std::string kind = fields.Text("kind", "replica");
  task.gflop = fields.Number("gflop", 0);
  task.gbytes = fields.Number("gbytes", 0);
  task.memory_bytes = fields.Bytes("memory", 0);
  task.overhead_s = fields.Seconds("overhead", 0);
  task.power_w = fields.Number("power_w", 0);
  const int64_t count = fields.Count("count", 1, 1, kMostTasks);
  const std::string on = fields.Text("on", "processor");
  task.replicas = static_cast<int>(fields.Count("replicas", 0, 1, kMostReplicas));
  task.asked = static_cast<int>(fields.Count("asked", 0, 1, kMostReplicas));
  const Json* const serving = fields.List("serving");
  task.layers = static_cast<int>(fields.Count("layers", 0, 2, kMostLayers));
  task.first_bytes = fields.Bytes("first", 0);
  task.last_bytes = fields.Bytes("last", 0);
  task.boundary_bytes = fields.Bytes("boundary", 0);
  EK_RETURN_IF_ERROR(fields.status());
  EK_RETURN_IF_ERROR(CheckLayers(task, place));
  if (task.replicas > 0 && count > 1)
    return InvalidArgument("{}: expected count or replicas, got both", place);
  if (task.replicas == 0 && (serving != nullptr || task.asked > 0))
    return InvalidArgument("{}: serving and asked are for tasks with replicas", place);
  for (const Json& one : serving != nullptr ? *serving : Json::array()) {
    if (!one.is_string())
      return InvalidArgument("{}.serving: expected names of nodes, got {}", place,
                             Excerpt(one.dump()));
    task.serving.push_back(one.get<std::string>());
  }
  const auto known = KindOf(kind, place);
  if (!known.ok()) return known.status();
  task.kind = *known;
  if (on != "processor" && on != "accelerator" && on != "both")
    return InvalidArgument("{}.on: expected processor, accelerator or both, got {}", place,
                           Excerpt(on));
  task.may_use_processor = on != "accelerator";
  task.may_use_accelerator = on != "processor";
  const std::string name = task.name;
  if (groups->contains(name)) return InvalidArgument("{}: task '{}' is there twice", place, name);
  for (int64_t i = 1; i <= count; ++i) {
    if (count > 1) task.name = fmt::format("{}-{}", name, i);
    (*groups)[name].push_back(static_cast<int>(graph->tasks.size()));
    graph->tasks.push_back(task);
    if (std::ssize(graph->tasks) > kMostTasks)
      return TooLarge("more than {} tasks are not planned", kMostTasks);
  }
  return Status::Ok();
}

Result<std::vector<int>> TasksOf(const Groups& groups, const std::string& name,
                                 const std::string& place) {
  const auto at = groups.find(name);
  if (at == groups.end()) return InvalidArgument("{}: there is no task {}", place, Excerpt(name));
  return at->second;
}

Status AddEdges(const Json& json, const std::string& place, const Groups& groups,
                TaskGraph* graph) {
  JsonFields fields(json, place, {"before", "after", "bytes"});
  const std::string before = fields.Text("before", "", true);
  const std::string after = fields.Text("after", "", true);
  const int64_t bytes = fields.Bytes("bytes", 0);
  EK_RETURN_IF_ERROR(fields.status());
  const auto from = TasksOf(groups, before, place);
  if (!from.ok()) return from.status();
  const auto to = TasksOf(groups, after, place);
  if (!to.ok()) return to.status();
  for (const int a : *from) {
    for (const int b : *to) {
      graph->dependencies.push_back({graph->tasks[static_cast<size_t>(a)].name,
                                     graph->tasks[static_cast<size_t>(b)].name, bytes});
      if (std::ssize(graph->dependencies) > kMostTasks)
        return TooLarge("more than {} edges are not planned", kMostTasks);
    }
  }
  return Status::Ok();
}

bool HasPlace(const std::vector<NodeState>& nodes, const std::string& name) {
  return std::ranges::any_of(PlacesOf(nodes),
                             [&](const Place& place) { return NameOf(place, nodes) == name; });
}

Status AddMeasured(const Json& json, const std::string& place, const Groups& groups,
                   ClusterFile* file) {
  JsonFields fields(json, place, {"task", "on", "seconds"});
  const std::string task = fields.Text("task", "", true);
  const std::string on = fields.Text("on", "", true);
  const double seconds = fields.Number("seconds", 0, true, 1e-9);
  EK_RETURN_IF_ERROR(fields.status());
  const auto tasks = TasksOf(groups, task, place);
  if (!tasks.ok()) return tasks.status();
  if (!HasPlace(file->nodes, on))
    return InvalidArgument("{}: there is no node or accelerator {}", place, Excerpt(on));
  for (const int one : *tasks) file->measured.push_back({one, on, seconds});
  return Status::Ok();
}

Status AddCorrection(const Json& json, const std::string& place, const Groups& groups,
                     ClusterFile* file) {
  JsonFields fields(json, place,
                    {"task", "on", "factor", "predicted", "measured", "noise", "samples", "age_s"});
  const std::string task = fields.Text("task", "", true);
  const std::string on = fields.Text("on", "", true);
  const double factor = fields.Number("factor", 1, true, 1e-6);
  EK_RETURN_IF_ERROR(fields.status());
  const auto tasks = TasksOf(groups, task, place);
  if (!tasks.ok()) return tasks.status();
  if (!HasPlace(file->nodes, on))
    return InvalidArgument("{}: there is no node or accelerator {}", place, Excerpt(on));
  for (const int one : *tasks) file->corrections.push_back({one, on, factor});
  return Status::Ok();
}

// Models with replicas: where they serve is known, and nothing depends on them.
Status CheckReplicas(const ClusterFile& file) {
  for (const Task& task : file.graph.tasks) {
    if (task.replicas == 0) continue;
    if (!file.graph.dependencies.empty())
      return InvalidArgument("task '{}': replicas and edges were both given", task.name);
    for (const std::string& place : task.serving) {
      if (!HasPlace(file.nodes, place))
        return InvalidArgument("task '{}': serving: there is no node or accelerator {}", task.name,
                               Excerpt(place));
    }
  }
  return Status::Ok();
}

// Calls `add` for each member of a list that may be missing.
template <typename Add>
Status ForEach(const Json* list, const char* name, const Add& add) {
  if (list == nullptr) return Status::Ok();
  for (size_t i = 0; i < list->size(); ++i)
    EK_RETURN_IF_ERROR(add((*list)[i], fmt::format("{}[{}]", name, i)));
  return Status::Ok();
}

Status ParseNodes(const Json* list, std::vector<NodeState>* nodes) {
  if (list->size() > kMostNodes)
    return TooLarge("{} nodes; at most {} are planned", list->size(), kMostNodes);
  EK_RETURN_IF_ERROR(ForEach(list, "nodes", [&](const Json& json, const std::string& place) {
    auto node = ParseNode(json, place);
    if (!node.ok()) return node.status();
    if (std::ranges::find(*nodes, node->name, &NodeState::name) != nodes->end())
      return InvalidArgument("{}: node '{}' is there twice", place, node->name);
    nodes->push_back(std::move(*node));
    return Status::Ok();
  }));
  return nodes->empty() ? InvalidArgument("nodes: expected at least one") : Status::Ok();
}

}  // namespace

Result<ClusterFile> ParseClusterFile(std::string_view text) {
  if (text.size() > kMostBytes)
    return TooLarge("the file has {} bytes; at most {} are read", text.size(), kMostBytes);
  const auto json = ParseStrictObject(text, kDeepest, "the cluster's file");
  if (!json.ok()) return json.status();
  JsonFields fields(
      *json, "the cluster's file",
      {"nodes", "links", "tasks", "edges", "measured", "corrections", "live", "feedback"});
  const Json* const nodes = fields.List("nodes", true);
  const Json* const tasks = fields.List("tasks", true);
  const Json* const edges = fields.List("edges");
  const Json* const measured = fields.List("measured");
  const Json* const corrections = fields.List("corrections");
  const Json* const links = fields.Find("links");
  EK_RETURN_IF_ERROR(fields.status());
  ClusterFile file;
  EK_RETURN_IF_ERROR(ParseNodes(nodes, &file.nodes));
  const Json none = Json::object();
  JsonFields link(links != nullptr ? *links : none, "links", {"bandwidth", "round_trip"});
  file.link.bytes_per_s = static_cast<double>(link.Bytes("bandwidth", 125'000'000));
  file.link.round_trip_s = link.Seconds("round_trip", 300e-6);
  EK_RETURN_IF_ERROR(link.status());
  if (file.link.bytes_per_s <= 0) return InvalidArgument("links.bandwidth: expected more than 0");
  Groups groups;
  EK_RETURN_IF_ERROR(ForEach(tasks, "tasks", [&](const Json& one, const std::string& place) {
    return AddTasks(one, place, &file.graph, &groups);
  }));
  EK_RETURN_IF_ERROR(ForEach(edges, "edges", [&](const Json& one, const std::string& place) {
    return AddEdges(one, place, groups, &file.graph);
  }));
  EK_RETURN_IF_ERROR(ForEach(measured, "measured", [&](const Json& one, const std::string& place) {
    return AddMeasured(one, place, groups, &file);
  }));
  EK_RETURN_IF_ERROR(
      ForEach(corrections, "corrections", [&](const Json& one, const std::string& place) {
        return AddCorrection(one, place, groups, &file);
      }));
  EK_RETURN_IF_ERROR(CheckGraph(file.graph));
  EK_RETURN_IF_ERROR(CheckReplicas(file));
  return file;
}

}  // namespace evenkeel
