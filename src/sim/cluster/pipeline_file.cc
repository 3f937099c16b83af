#include "sim/cluster/pipeline_file.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cluster/cluster_file.h"
#include "core/format.h"
#include "core/json_fields.h"
#include "core/strict_json.h"
#include "sim/cluster/scenario_file.h"

namespace evenkeel::sim {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostBytes = size_t{64} << 20;  // as cluster_file.h
constexpr int kDeepest = 5;
constexpr int64_t kMostTokens = 10'000'000;
constexpr int64_t kMostInFlight = 100'000;
constexpr const char* kPipeline = "pipeline";

// The task that is named, else the only one with layers.
Result<Task> ModelOf(const TaskGraph& graph, const std::string& name) {
  const Task* found = nullptr;
  for (const Task& task : graph.tasks) {
    if (name.empty() ? task.layers == 0 : task.name != name) continue;
    if (found != nullptr)
      return InvalidArgument(
          "pipeline.model: expected the name of one task, '{}' and '{}' have layers", found->name,
          task.name);
    found = &task;
  }
  if (found == nullptr)
    return name.empty() ? InvalidArgument("tasks: expected one with layers")
                        : InvalidArgument("pipeline.model: there is no task '{}'", name);
  if (found->layers == 0)
    return InvalidArgument("pipeline.model: task '{}' has no layers", found->name);
  if (found->memory_bytes <= found->first_bytes + found->last_bytes)
    return InvalidArgument("task '{}': memory: expected more than first and last", found->name);
  return *found;
}

}  // namespace

bool IsPipeline(std::string_view text) {
  if (text.size() > kMostBytes) return false;
  const auto json = ParseStrictObject(text, kDeepest, "the scenario");
  return json.ok() && json->contains(kPipeline);
}

Result<PipelineScenario> ParsePipeline(std::string_view text, const ReadFile& read) {
  if (text.size() > kMostBytes)
    return TooLarge("the file has {} bytes; at most {} are read", text.size(), kMostBytes);
  auto json = ParseStrictObject(text, kDeepest, "the scenario");
  if (!json.ok()) return json.status();
  const Json pipeline = json->value(kPipeline, Json());
  const Json events = json->value("events", Json::array());
  json->erase(kPipeline);
  json->erase("events");
  auto cluster = ParseClusterFile(json->dump());
  if (!cluster.ok()) return cluster.status();

  JsonFields fields(
      pipeline, kPipeline,
      {"model", "arrivals", "prompt", "answer", "piece", "in_flight", "detect", "load"});
  PipelineScenario scenario;
  const std::string name = fields.Text("model", "");
  const std::string arrivals = fields.Text("arrivals", "", true);
  const auto count = [&fields](const char* key, int otherwise, int64_t most) {
    return static_cast<int>(fields.Count(key, otherwise, 1, most));
  };
  scenario.prompt_tokens = count("prompt", scenario.prompt_tokens, kMostTokens);
  scenario.answer_tokens = count("answer", scenario.answer_tokens, kMostTokens);
  scenario.piece_tokens = count("piece", scenario.piece_tokens, kMostTokens);
  scenario.in_flight = count("in_flight", scenario.in_flight, kMostInFlight);
  scenario.detect_s = fields.Seconds("detect", scenario.detect_s);
  scenario.load_bytes_per_s =
      static_cast<double>(fields.Bytes("load", static_cast<int64_t>(scenario.load_bytes_per_s)));
  EK_RETURN_IF_ERROR(fields.status());
  if (scenario.load_bytes_per_s <= 0) return InvalidArgument("pipeline.load: expected more than 0");
  auto model = ModelOf(cluster->graph, name);
  if (!model.ok()) return model.status();
  scenario.model = std::move(*model);
  if (!events.is_array()) return InvalidArgument("events: expected a list");
  std::vector<std::string> names;
  for (const NodeState& node : cluster->nodes) names.push_back(node.name);
  auto parsed = ParseEvents(&events, names);
  if (!parsed.ok()) return parsed.status();
  scenario.events = std::move(*parsed);
  auto process = ParseArrivals(arrivals, read);
  if (!process.ok()) return process.status().Annotate("pipeline.arrivals");
  scenario.arrivals = std::move(*process);
  scenario.nodes = std::move(cluster->nodes);
  scenario.link = cluster->link;
  return scenario;
}

}  // namespace evenkeel::sim
