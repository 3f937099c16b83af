#include "cluster/live/cluster_document.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/live/replica_wishes.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;
using NodeView = ReplicaTable::NodeView;

constexpr double kLeastSeconds = 1e-6;

std::string Bytes(int64_t bytes) { return fmt::format("{}B", std::max<int64_t>(bytes, 0)); }

// What is known of one model on the nodes that serve it.
struct ModelWork {
  bool language = false;
  double rows_per_s = 0;  // of all nodes together; language: tokens
  int64_t memory_bytes = 0;
  std::vector<std::pair<const NodeView*, const ModelFigures*>> on;
  std::vector<std::string> serving;  // nodes
};

// What would be free if its models went elsewhere. What serves there has its room there, though it may take more where more of it runs side by side: the plan counts the most.
int64_t FreeWithoutModels(const NodeView& node, const std::map<std::string, ModelWork>& models) {
  std::map<std::string_view, int64_t> held;  // by model: of all its versions
  for (const ModelFigures& model : node.figures.models) held[model.name] += model.memory_bytes;
  int64_t free = node.figures.free_memory_bytes;
  for (const auto& [name, bytes] : held)
    free += std::max(bytes, models.at(std::string(name)).memory_bytes);
  return free;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

Json LinksOf(std::span<const NodeView* const> nodes) {
  std::vector<double> bandwidths, round_trips;
  for (const NodeView* node : nodes) {
    if (node->bytes_per_s > 0) bandwidths.push_back(node->bytes_per_s);
    if (node->round_trip_s > 0) round_trips.push_back(node->round_trip_s);
  }
  Json links = Json::object();
  if (!bandwidths.empty())
    links["bandwidth"] = Bytes(static_cast<int64_t>(Median(std::move(bandwidths))));
  if (!round_trips.empty())
    links["round_trip"] =
        fmt::format("{}us", static_cast<int64_t>(Median(std::move(round_trips)) * 1e6) + 1);
  return links;
}

}  // namespace

Json ClusterDocument(std::span<const NodeView> nodes) {
  std::vector<const NodeView*> there;
  for (const NodeView& node : nodes) {
    if (node.known && !node.suspect && node.figures.resources.gflops > 0) there.push_back(&node);
  }
  Json node_list = Json::array(), tasks = Json::array(), measured = Json::array();
  std::map<std::string, ModelWork> models;
  for (const NodeView* node : there) {
    for (const ModelFigures& model : node->figures.models) {
      ModelWork& work = models[model.name];
      work.language = model.language;
      work.rows_per_s += model.rate_rps * model.call_rows;
      work.memory_bytes = std::max(work.memory_bytes, model.memory_bytes);
      // A model may be told of in several versions.
      if (work.serving.empty() || work.serving.back() != node->name)
        work.serving.push_back(node->name);
      if (model.row_s > 0) work.on.emplace_back(node, &model);
    }
  }
  for (const NodeView* node : there) {
    const ResourceVector& has = node->figures.resources;
    Json one = {
        {"name", node->name},
        {"cores", has.cores},
        {"gflops", has.gflops},
        {"memory_gb_s", has.memory_gb_s},
        {"memory", Bytes(has.memory_bytes)},
        {"disk", Bytes(has.disk_bytes)},
        {"free_memory", Bytes(std::min(FreeWithoutModels(*node, models), has.memory_bytes))}};
    if (has.power_w) one["power_w"] = *has.power_w;
    node_list.push_back(std::move(one));
  }
  const auto replicas = ReplicasNow(nodes);
  for (const auto& [name, work] : models) {
    Json task = {{"name", name},
                 {"kind", work.language ? "language replica" : "replica"},
                 {"memory", Bytes(work.memory_bytes)},
                 {"replicas", 1},
                 {"serving", work.serving}};
    if (const auto at = replicas.find(name); at != replicas.end()) {
      task["replicas"] = at->second.least();
      if (at->second.asked > 0) task["asked"] = at->second.asked;
    }
    std::vector<double> operations;
    for (const auto& [node, model] : work.on) {
      const double core_s = work.rows_per_s * model->row_s;
      if (core_s / node->figures.cores < kLeastSeconds) continue;  // nobody asks for it
      operations.push_back(core_s * node->figures.resources.gflops /
                           std::max(node->figures.resources.cores, 1e-3));
      measured.push_back(
          {{"task", name}, {"on", node->name}, {"seconds", core_s / node->figures.cores}});
    }
    if (!operations.empty()) task["gflop"] = Median(std::move(operations));
    tasks.push_back(std::move(task));
  }
  Json document = {{"nodes", std::move(node_list)}, {"tasks", std::move(tasks)}};
  if (Json links = LinksOf(there); !links.empty()) document["links"] = std::move(links);
  if (!measured.empty()) document["measured"] = std::move(measured);
  return document;
}

}  // namespace evenkeel
