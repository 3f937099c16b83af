// The Service of a node of a cluster: as this server's own, but calls to models that other nodes serve too, or only they, are routed.
//
// Thread-safety: thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/cluster_host.h"
#include "server/service_impl.h"

namespace evenkeel {

class ClusterService final : public ServiceImpl {
 public:
  ClusterService(ModelRegistry& registry, Sampler& sampler, const SelfProfile& profile,
                 const Accelerators& accelerators, ClusterHost& host)
      : ServiceImpl(registry, sampler, profile, accelerators), host_(host), cluster_(host.node()) {}

  Result<std::shared_ptr<ServedModel>> Find(std::string_view name,
                                            std::string_view version) override;
  Result<std::shared_ptr<LanguageModel>> FindLanguageModel(std::string_view name) override;
  std::vector<LanguageModelInfo> LanguageModels() const override;
  Result<bool> ModelReady(std::string_view name, std::string_view version) const override;
  Result<ModelMetadata> Metadata(std::string_view name, std::string_view version) const override;
  nlohmann::json Describe() const override;
  Result<nlohmann::json> DescribeCluster() const override;
  void SetNodeState(std::string node, std::string state,
                    std::function<void(Status)> done) override {
    cluster_.SetState(node, state, std::move(done));
  }
  Result<nlohmann::json> DescribeMembership() const override { return host_.DescribeMembership(); }
  void ChangeMembership(std::string change, std::string node,
                        std::function<void(Status)> done) override;
  void DeployModel(DeployRequest request,
                   std::function<void(Result<nlohmann::json>)> done) override;
  void UndeployModel(UndeployRequest request,
                     std::function<void(Result<nlohmann::json>)> done) override;
  Result<nlohmann::json> Deploys() const override;
  void StorePlan(std::string plan, std::function<void(Result<nlohmann::json>)> done) override;
  std::string MetricsText() const override;

 private:
  // Fail static: without the store nothing moves and nothing is deleted. Error kUnavailable.
  Status MayChange() const;
  // Of all nodes but those that were taken off.
  std::vector<ReplicaTable::NodeView> LookAtNodes() const;
  std::string_view StateOf(const ReplicaTable::NodeView& node) const;

  ClusterHost& host_;
  ClusterNode& cluster_;
};

}  // namespace evenkeel
