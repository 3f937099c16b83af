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

#include "server/cluster_node.h"
#include "server/service_impl.h"

namespace evenkeel {

class ClusterService final : public ServiceImpl {
 public:
  ClusterService(ModelRegistry& registry, Sampler& sampler, const SelfProfile& profile,
                 const Accelerators& accelerators, ClusterNode& cluster)
      : ServiceImpl(registry, sampler, profile, accelerators), cluster_(cluster) {}

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
  std::string MetricsText() const override;

 private:
  ClusterNode& cluster_;
};

}  // namespace evenkeel
