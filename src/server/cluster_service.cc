#include "server/cluster_service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "cluster/live/cluster_document.h"
#include "cluster/live/learnt_document.h"
#include "core/format.h"
#include "server/cluster_status.h"
#include "server/routed_generation.h"
#include "server/routed_infer.h"

namespace evenkeel {
namespace {

// What is no answer of this node's about the model itself: others may know more.
bool MayAskOthers(const Status& status) {
  return status.code() == Code::kNotFound || status.code() == Code::kUnavailable;
}

// That there is no such model is said only by who has heard all nodes.
Status WhileYoung(const ClusterNode& cluster, std::string_view model, const Status& own) {
  if (own.code() != Code::kNotFound || !cluster.MayStillCome(model)) return own;
  return Unavailable("model '{}' is not on this node, and it is not known yet what all others have",
                     model);
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

std::string_view ClusterService::StateOf(const ReplicaTable::NodeView& node) const {
  if (cluster_.StateOf(node.name).health == Health::kDead) return "dead";
  if (!node.known) return "unseen";
  if (node.figures.draining) return "cordoned";
  return node.suspect ? "suspect" : "alive";
}

std::vector<ReplicaTable::NodeView> ClusterService::LookAtNodes() const {
  auto nodes = cluster_.Look();
  std::erase_if(nodes, [](const auto& node) { return node.gone; });
  return nodes;
}

void ClusterService::ChangeMembership(std::string change, std::string node,
                                      std::function<void(Status)> done) {
  if (change == "rm") return host_.RemoveNode(node, std::move(done));
  if (change == "replace") return host_.ReplaceMember(node, std::move(done));
  if (change == "promote") return host_.Promote(std::move(done));
  done(InvalidArgument("change of membership: expected rm, replace or promote, got '{}'", change));
}

Result<std::shared_ptr<ServedModel>> ClusterService::Find(std::string_view name,
                                                          std::string_view version) {
  auto own = ServiceImpl::Find(name, version);
  const auto known = cluster_.Find(name, version);
  if (!known && !own.ok()) return WhileYoung(cluster_, name, own.status());
  if (!known || (!known->signature && !own.ok())) return own;
  // Its steps run wherever their models are; a model of another node's that has its name is another thing.
  if (own.ok() && ((*own)->calls_others() || known->graph)) return own;
  if (own.ok() || MayAskOthers(own.status())) {
    return std::shared_ptr<ServedModel>(std::make_shared<RoutedModel>(
        cluster_, std::string(name), known, own.ok() ? std::move(*own) : nullptr));
  }
  return own;
}

Result<std::shared_ptr<LanguageModel>> ClusterService::FindLanguageModel(std::string_view name) {
  auto own = ServiceImpl::FindLanguageModel(name);
  const auto known = cluster_.Find(name, {});
  if (!known && !own.ok()) return WhileYoung(cluster_, name, own.status());
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
  // A graph that is here is run here.
  if ((own.ok() && *own) || cluster_.registry().Ensemble(name)) return own;
  if (const auto known = cluster_.Find(name, version)) return known->reachable;
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
  metadata.platform = !known->signature ? "llama_cpp" : known->graph ? "ensemble" : "cluster";
  if (known->signature) {
    metadata.inputs = known->signature->inputs;
    metadata.outputs = known->signature->outputs;
  }
  return metadata;
}

nlohmann::json ClusterService::Describe() const {
  nlohmann::json document = ServiceImpl::Describe();
  nlohmann::json nodes = nlohmann::json::array();
  for (const auto& node : LookAtNodes()) {
    nlohmann::json models = nlohmann::json::array(), graphs = nlohmann::json::array();
    for (const ModelFigures& model : node.figures.models) models.push_back(model.name);
    for (const ModelFigures& graph : node.figures.graphs) graphs.push_back(graph.name);
    nodes.push_back({{"name", node.name},
                     {"state", StateOf(node)},
                     {"figures_age_s", node.age_s},
                     {"cores", node.figures.cores},
                     {"backlog_s", node.backlog_s},
                     {"outstanding", node.outstanding},
                     {"round_trip_ms", node.round_trip_s * 1e3},
                     {"link_bytes_s", node.figures.link_bytes_s},
                     {"sent", node.sent},
                     {"models", std::move(models)},
                     {"graphs", std::move(graphs)}});
  }
  nlohmann::json events = nlohmann::json::array();
  for (const auto& event : cluster_.Events())
    events.push_back({{"unix_ms", event.unix_ms}, {"what", event.what}, {"why", event.why}});
  document["cluster"] = {{"nodes", std::move(nodes)}, {"events", std::move(events)}};
  return document;
}

Result<nlohmann::json> ClusterService::DescribeCluster() const {
  const auto nodes = LookAtNodes();
  nlohmann::json document = ClusterDocument(nodes);
  if (const auto learnt = cluster_.feedback().learnt()) {
    AddLearnt(
        learnt->costs,
        [&](std::string_view model) {
          const auto at = learnt->rates.find(model);
          return at == learnt->rates.end() ? 0 : at->second;
        },
        nodes, learnt->at_s, &document);
  }
  document["feedback"] = cluster_.feedback().Document(cluster_.clock().Now());
  std::vector<std::string_view> states;
  for (const auto& node : nodes) states.push_back(StateOf(node));
  document["live"] = ClusterStatus(nodes, states, cluster_.Events());
  const nlohmann::json membership = host_.DescribeMembership();
  if (const auto plan = membership.find("plan"); plan != membership.end() && plan->is_object())
    document["live"]["plan"] = *plan;
  return document;
}

void ClusterService::DeployModel(DeployRequest request,
                                 std::function<void(Result<nlohmann::json>)> done) {
  if (const Status may = MayChange(); !may.ok()) return done(may);
  cluster_.deploys().Deploy(std::move(request), std::move(done));
}

void ClusterService::UndeployModel(UndeployRequest request,
                                   std::function<void(Result<nlohmann::json>)> done) {
  if (const Status may = MayChange(); !may.ok()) return done(may);
  cluster_.deploys().Undeploy(std::move(request), std::move(done));
}

Result<nlohmann::json> ClusterService::Deploys() const { return cluster_.deploys().Describe(); }

Status ClusterService::MayChange() const {
  if (const std::string away = host_.WhyAway(); !away.empty())
    return Unavailable("{}; until it is back nothing is changed", away);
  const std::string frozen = cluster_.WhyFrozen();
  return frozen.empty() ? Status::Ok() : Unavailable("nothing is moved: {}", frozen);
}

void ClusterService::StorePlan(std::string plan, std::function<void(Result<nlohmann::json>)> done) {
  // A cluster without a store has nowhere to keep it.
  if (host_.View() == nullptr) return done(nlohmann::json{{"stored", false}});
  host_.Publish(std::move(plan), [done = std::move(done)](const Result<PlanStamp>& stamp) {
    if (!stamp.ok()) return done(stamp.status().Annotate("the plan is not stored"));
    done(nlohmann::json{{"stored", true},
                        {"stamp", ToText(*stamp)},
                        {"plan",
                         {{"history", stamp->term.history},
                          {"term", stamp->term.revision},
                          {"revision", stamp->revision}}}});
  });
}

std::string ClusterService::MetricsText() const {
  std::string text = ServiceImpl::MetricsText();
  const auto nodes = LookAtNodes();
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
  if (const auto view = host_.View()) {
    const auto gauge = [&](std::string_view name, std::string_view help, int value) {
      text += fmt::format("# HELP {} {}\n# TYPE {} gauge\n{} {}\n", name, help, name, name, value);
    };
    gauge("evenkeel_control_plane_connected", "1: the cluster's store answers this node",
          view->connected ? 1 : 0);
    gauge("evenkeel_control_plane_leading", "1: this node leads the cluster",
          view->leading ? 1 : 0);
  }
  text += fmt::format(
      "# HELP evenkeel_moves_frozen 1: so many nodes went at once that nothing is moved\n"
      "# TYPE evenkeel_moves_frozen gauge\nevenkeel_moves_frozen {}\n",
      cluster_.WhyFrozen().empty() ? 0 : 1);
  family("evenkeel_cluster_node_cores", "Cores of a node that batches may use", "gauge",
         [](const auto& node) { return node.figures.cores; });
  family("evenkeel_cluster_node_busy_cores", "Of them, those that work, mean of the last seconds",
         "gauge", [](const auto& node) { return node.figures.busy_cores; });
  family("evenkeel_node_moving", "Answers that a node's gateway is moving to another node", "gauge",
         [](const auto& node) { return node.figures.moving; });
  const ClusterNode::Counts counts = cluster_.counts();
  const auto single = [&](std::string_view name, std::string_view help, auto value) {
    text += fmt::format("# HELP {} {}\n# TYPE {} counter\n{} {}\n", name, help, name, name, value);
  };
  text += fmt::format(
      "# HELP evenkeel_moves_total Calls that this node gave on, or asked to move\n"
      "# TYPE evenkeel_moves_total counter\n"
      "evenkeel_moves_total{{kind=\"queued\"}} {}\nevenkeel_moves_total{{kind=\"sequence\"}} {}\n",
      counts.moved.queued, counts.moved.sequences);
  const StateExchange::Counts states = cluster_.states().counts();
  text += fmt::format(
      "# HELP evenkeel_sequence_states_total States of answers that move: given to another node, "
      "or here taken, not taken since computing takes less, failed\n"
      "# TYPE evenkeel_sequence_states_total counter\n");
  for (const auto& [outcome, count] :
       {std::pair("given", states.given), std::pair("taken", states.taken),
        std::pair("computed", states.computed), std::pair("failed", states.failed)})
    text += fmt::format("evenkeel_sequence_states_total{{outcome=\"{}\"}} {}\n", outcome, count);
  single("evenkeel_sequence_state_bytes_total", "Bytes of the states that were taken",
         states.bytes);
  text += fmt::format(
      "# HELP evenkeel_sequence_state_models Language models whose states can be sent and taken "
      "here\n"
      "# TYPE evenkeel_sequence_state_models gauge\nevenkeel_sequence_state_models {}\n",
      states.models);
  single("evenkeel_route_retries_total", "Calls that this gateway ran again on another node",
         counts.retries);
  single("evenkeel_route_retries_refused_total",
         "Calls that it did not run again since the budget was spent", counts.retries_refused);
  single("evenkeel_plan_proposals_total", "Plans that were worth their moves",
         cluster_.feedback().proposals());
  return text;
}

}  // namespace evenkeel
