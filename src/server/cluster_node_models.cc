// The part of ClusterNode that puts together what moves models and states of answers between nodes.
#include <nlohmann/json.hpp>
#include <utility>

#include "server/cluster_node.h"

namespace evenkeel {

void ClusterNode::StartModels() {
  const auto link_to = [this](const std::string& name) { return LinkToModels(name); };
  models_ = std::make_unique<NodeModels>(
      NodeModelsOptions{options_.name, options_.models, options_.state, options_.copy_rate_bytes_s},
      registry_, events_, clock_,
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
}

void ClusterNode::StartStates() {
  StateExchange::Node node;
  node.link = [this](std::string_view name) -> std::optional<StateExchange::Link> {
    const int index = IndexOf(name);
    if (index <= 0) return std::nullopt;
    const auto view = Look()[static_cast<size_t>(index)];
    // From there to here, which may be another speed than the way back.
    return StateExchange::Link{&link(index), view.round_trip_s, view.figures.link_bytes_s};
  };
  node.list = [this](std::string model, std::function<void(Result<ModelListing>)> done) {
    models_->ListModel(std::move(model), std::move(done));
  };
  node.elsewhere = [this](std::string_view model) { return Find(model, {}) != nullptr; };
  states_ = std::make_shared<StateExchange>(registry_, events_, std::move(node));
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
