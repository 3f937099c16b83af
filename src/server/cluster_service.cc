#include "server/cluster_service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "cluster/live/cluster_document.h"
#include "core/format.h"
#include "server/routed_generation.h"
#include "server/routed_infer.h"

namespace evenkeel {
namespace {

// What is no answer of this node's about the model itself: others may know more.
bool MayAskOthers(const Status& status) {
  return status.code() == Code::kNotFound || status.code() == Code::kUnavailable;
}

std::string_view StateOf(const ReplicaTable::NodeView& node) {
  if (!node.known) return "unseen";
  if (node.figures.draining) return "cordoned";
  return node.suspect ? "suspect" : "alive";
}

std::string Escaped(std::string_view label) {
  std::string text;
  for (const char c : label) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

}  // namespace

Result<std::shared_ptr<ServedModel>> ClusterService::Find(std::string_view name,
                                                          std::string_view version) {
  auto own = ServiceImpl::Find(name, version);
  const auto known = cluster_.Find(name, version);
  if (!known || (!known->signature && !own.ok())) return own;
  if (own.ok() || MayAskOthers(own.status())) {
    return std::shared_ptr<ServedModel>(std::make_shared<RoutedModel>(
        cluster_, std::string(name), known, own.ok() ? std::move(*own) : nullptr));
  }
  return own;
}

Result<std::shared_ptr<LanguageModel>> ClusterService::FindLanguageModel(std::string_view name) {
  auto own = ServiceImpl::FindLanguageModel(name);
  const auto known = cluster_.Find(name, {});
  if (!known || known->signature || known->info.name.empty()) return own;
  if (!own.ok() && !MayAskOthers(own.status())) return own;
  return std::shared_ptr<LanguageModel>(
      std::make_shared<RoutedLanguage>(cluster_, known, own.ok() ? std::move(*own) : nullptr));
}

std::vector<LanguageModelInfo> ClusterService::LanguageModels() const {
  auto models = ServiceImpl::LanguageModels();
  for (const auto& known : cluster_.Languages()) {
    if (std::ranges::find(models, known->info.name, &LanguageModelInfo::name) == models.end())
      models.push_back(known->info);
  }
  std::ranges::sort(models, {}, &LanguageModelInfo::name);
  return models;
}

Result<bool> ClusterService::ModelReady(std::string_view name, std::string_view version) const {
  auto own = ServiceImpl::ModelReady(name, version);
  if (own.ok() && *own) return own;
  if (cluster_.Find(name, version)) return true;
  return own;
}

Result<ModelMetadata> ClusterService::Metadata(std::string_view name,
                                               std::string_view version) const {
  auto own = ServiceImpl::Metadata(name, version);
  if (own.ok() || !MayAskOthers(own.status())) return own;
  const auto known = cluster_.Find(name, version);
  if (!known) return own;
  ModelMetadata metadata;
  metadata.name = name;
  metadata.versions = {known->version};
  metadata.platform = known->signature ? "cluster" : "llama_cpp";
  if (known->signature) {
    metadata.inputs = known->signature->inputs;
    metadata.outputs = known->signature->outputs;
  }
  return metadata;
}

nlohmann::json ClusterService::Describe() const {
  nlohmann::json document = ServiceImpl::Describe();
  nlohmann::json nodes = nlohmann::json::array();
  for (const auto& node : cluster_.Look()) {
    nlohmann::json models = nlohmann::json::array();
    for (const ModelFigures& model : node.figures.models) models.push_back(model.name);
    nodes.push_back({{"name", node.name},
                     {"state", StateOf(node)},
                     {"figures_age_s", node.age_s},
                     {"cores", node.figures.cores},
                     {"backlog_s", node.backlog_s},
                     {"outstanding", node.outstanding},
                     {"round_trip_ms", node.round_trip_s * 1e3},
                     {"sent", node.sent},
                     {"models", std::move(models)}});
  }
  nlohmann::json events = nlohmann::json::array();
  for (const auto& event : cluster_.Events())
    events.push_back({{"unix_ms", event.unix_ms}, {"what", event.what}, {"why", event.why}});
  document["cluster"] = {{"nodes", std::move(nodes)}, {"events", std::move(events)}};
  return document;
}

Result<nlohmann::json> ClusterService::DescribeCluster() const {
  return ClusterDocument(cluster_.Look());
}

std::string ClusterService::MetricsText() const {
  std::string text = ServiceImpl::MetricsText();
  const auto nodes = cluster_.Look();
  const auto family = [&](std::string_view name, std::string_view help, std::string_view type,
                          auto value) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    for (const auto& node : nodes)
      text += fmt::format("{}{{node=\"{}\"}} {}\n", name, Escaped(node.name), value(node));
  };
  family("evenkeel_node_backlog_seconds", "Work that is expected on a node, seconds of its cores",
         "gauge",
         [](const auto& node) { return node.backlog_s / std::max(1e-9, node.figures.cores); });
  family("evenkeel_node_suspect", "1: the node gets no new work", "gauge",
         [](const auto& node) { return node.suspect ? 1 : 0; });
  family("evenkeel_node_calls_total", "Calls that this gateway sent to a node", "counter",
         [](const auto& node) { return node.sent; });
  return text;
}

}  // namespace evenkeel
