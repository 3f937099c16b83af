// The Service that front ends call, over the registry and the sampler.
//
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <vector>

#include "containers/node_memory.h"
#include "frontends/service.h"
#include "net/http_server.h"
#include "profiling/sampler.h"
#include "server/model_registry.h"
#include "server/self_profile.h"

namespace evenkeel {

class ServiceImpl : public Service {
 public:
  ServiceImpl(ModelRegistry& registry, Sampler& sampler, const SelfProfile& profile,
              const Accelerators& accelerators)
      : registry_(registry), sampler_(sampler), profile_(profile), accelerators_(accelerators) {}

  Result<std::shared_ptr<ServedModel>> Find(std::string_view name,
                                            std::string_view version) override;
  Result<std::shared_ptr<LanguageModel>> FindLanguageModel(std::string_view name) override {
    return registry_.FindLanguage(name);
  }
  std::vector<LanguageModelInfo> LanguageModels() const override;
  bool Live() const override { return true; }
  bool Ready(std::vector<std::string>* why) const override { return registry_.Ready(why); }
  Result<bool> ModelReady(std::string_view name, std::string_view version) const override;
  Result<ModelMetadata> Metadata(std::string_view name, std::string_view version) const override;
  Result<nlohmann::json> Config(std::string_view name, std::string_view version) const override;
  Result<std::vector<ModelStatistics>> Statistics(std::string_view name,
                                                  std::string_view version) const override;
  std::vector<RepositoryEntry> RepositoryIndex(bool ready_only) const override {
    return registry_.Index(ready_only);
  }
  void LoadAsync(std::string name, std::string config_override,
                 std::function<void(Status)> done) override;
  void UnloadAsync(std::string name, std::function<void(Status)> done) override;
  nlohmann::json Describe() const override;
  Result<nlohmann::json> DescribeModel(std::string_view name) const override;
  Result<nlohmann::json> DescribeBatching(std::string_view name,
                                          std::string_view version) const override;
  std::vector<SampleSummary> Samples() const override;
  Result<std::string> ExportSamples(std::string_view model) const override;
  Status RemoveSamples(std::string_view model) override;
  std::string MetricsText() const override;

 private:
  // The language model of that name that serves; null: there is none.
  std::shared_ptr<LlmModel> Language(std::string_view name) const;

  ModelRegistry& registry_;
  Sampler& sampler_;
  const SelfProfile& profile_;
  const Accelerators& accelerators_;
  const NodeMemoryGauge memory_;
};

}  // namespace evenkeel
