// The part of ClusterNode that puts together what moves models and states of answers between nodes.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/cluster_node.h"

namespace evenkeel {

void ClusterNode::StartModels() {
  const auto link_to = [this](const std::string& name) { return LinkToModels(name); };
  NodeModels::Models own;
  own.known = [this](const std::string& model) { return registry_.Known(model); };
  own.serves = [this](const std::string& model) {
    const auto index = registry_.Index(/*ready_only=*/true);
    return std::ranges::find(index, model, &RepositoryEntry::name) != index.end();
  };
  own.load = [this](const std::string& model, std::function<void(Status)> done) {
    registry_.LoadAsync(model, "", std::move(done));
  };
  own.unload = [this](const std::string& model, std::function<void(Status)> done) {
    registry_.UnloadAsync(model, std::move(done));
  };
  NodeModelsOptions how;
  how.own = options_.name;
  how.models = options_.models;
  how.state = options_.state;
  how.copy_rate_bytes_s = options_.copy_rate_bytes_s;
  models_ = std::make_unique<NodeModels>(
      std::move(how), std::move(own), events_, clock_,
      NodeModels::Cluster{[this] { return Look(); }, link_to, [this] { FiguresChanged(); }});
  deploys_ = std::make_unique<ClusterDeploys>(
      ClusterDeploys::Cluster{[this] { return Look(); }, link_to,
                              [this](const std::string& model, int replicas) {
                                wishes_.Ask(model, replicas);
                                FiguresChanged();
                              }},
      *models_, events_, clock_);
  PlanRunner::Cluster cluster;
  cluster.look = [this] { return Look(); };
  cluster.deploy = [this](DeployRequest request, PlanRunner::Done done) {
    deploys_->Deploy(std::move(request), std::move(done));
  };
  cluster.undeploy = [this](UndeployRequest request, PlanRunner::Done done) {
    deploys_->Undeploy(std::move(request), std::move(done));
  };
  cluster.deploys = [this] { return deploys_->Describe(); };
  runner_ = std::make_unique<PlanRunner>(std::move(cluster), events_);
  feedback_.set_apply([this](const nlohmann::json& plan) { runner_->Run(plan); });
  feedback_.set_busy([this] { return runner_->busy(); });
  const auto hindrance = [this] { return WhyFrozen(); };
  feedback_.set_hindrance(hindrance);
  runner_->set_hindrance(hindrance);
}

void ClusterNode::StartStates() {
  StateExchange::Node node;
  node.link = [this](std::string_view name) -> std::optional<StateExchange::Link> {
    const int index = IndexOf(name);
    if (index <= 0) return std::nullopt;
    const auto view = Look()[static_cast<size_t>(index)];
    // From there to here, which may be another speed than the way back.
    return StateExchange::Link{view.round_trip_s, view.figures.link_bytes_s,
                               [this, index](const StateRequest& request, Duration timeout,
                                             std::function<void(Result<SequenceState>)> done) {
                                 link(index).ReadState(request, timeout, std::move(done));
                               }};
  };
  node.models = [this] {
    const auto models = registry_.Languages();
    return std::vector<std::shared_ptr<StateModel>>(models.begin(), models.end());
  };
  node.list = [this](std::string model, std::function<void(Result<ModelListing>)> done) {
    models_->ListModel(std::move(model), std::move(done));
  };
  node.elsewhere = [this](std::string_view model) { return Find(model, {}) != nullptr; };
  states_ = std::make_shared<StateExchange>(events_, std::move(node), clock_);
}

std::unique_ptr<ModelLink> ClusterNode::LinkToModels(const std::string& node) const {
  const int index = IndexOf(node);
  if (index <= 0) return nullptr;
  LinkClientOptions link;
  link.address = nodes_[static_cast<size_t>(index)]->address.address;
  link.credentials = trust_.credentials;
  link.node = node;
  return std::make_unique<ModelLink>(link);
}

}  // namespace evenkeel
