// What one caller may ask of the Service. Front ends know the Service only through this, so that no way to a model leads past a check.
//
// Contract: every call that names a model, or changes something, asks the CallerAccess first, and answers kUnauthenticated or
//   kPermissionDenied before anything is looked up; lists leave out what the caller may not see. Otherwise as Service.
// Thread-safety: as Service. A value of one call: what it finds stays usable after it is gone.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "access/caller_access.h"
#include "frontends/service.h"

namespace evenkeel {

class GuardedService {
 public:
  // `service` outlives it.
  GuardedService(Service& service, CallerAccess access)
      : service_(service), access_(std::move(access)) {}
  const CallerAccess& access() const { return access_; }

  // To ask them: infer.
  Result<std::shared_ptr<ServedModel>> Find(std::string_view name, std::string_view version) const;
  Result<std::shared_ptr<LanguageModel>> FindLanguageModel(std::string_view name) const;

  // To read about them: infer or manage.
  Result<LanguageModelInfo> DescribeLanguageModel(std::string_view name) const;
  std::vector<LanguageModelInfo> LanguageModels() const;
  Result<bool> ModelReady(std::string_view name, std::string_view version) const;
  Result<ModelMetadata> Metadata(std::string_view name, std::string_view version) const;
  Result<nlohmann::json> Config(std::string_view name, std::string_view version) const;
  Result<std::vector<ModelStatistics>> Statistics(std::string_view name,
                                                  std::string_view version) const;
  std::vector<RepositoryEntry> RepositoryIndex(bool ready_only) const;
  nlohmann::json Describe() const;
  Result<nlohmann::json> DescribeModel(std::string_view name) const;
  Result<nlohmann::json> DescribeBatching(std::string_view name, std::string_view version) const;

  // manage
  void LoadAsync(std::string name, std::string config_override, std::function<void(Status)> done);
  void UnloadAsync(std::string name, std::function<void(Status)> done);
  Result<std::vector<SampleSummary>> Samples() const;
  Result<std::string> ExportSamples(std::string_view model) const;
  Status RemoveSamples(std::string_view model);
  Result<nlohmann::json> DescribeCluster() const;
  void SetNodeState(std::string node, std::string state, std::function<void(Status)> done);
  Result<nlohmann::json> DescribeMembership() const;
  void ChangeMembership(std::string change, std::string node, std::function<void(Status)> done);
  void DeployModel(DeployRequest request, std::function<void(Result<nlohmann::json>)> done);
  void UndeployModel(UndeployRequest request, std::function<void(Result<nlohmann::json>)> done);
  Result<nlohmann::json> Deploys() const;
  void StorePlan(std::string plan, std::function<void(Result<nlohmann::json>)> done);

  // metrics
  Result<std::string> MetricsText() const;

  // Anybody.
  bool Live() const { return service_.Live(); }
  bool Ready() const { return service_.Ready(nullptr); }
  // metrics: a line a model that is not ready.
  Result<std::vector<std::string>> WhyNotReady() const;

 private:
  Service& service_;
  const CallerAccess access_;
};

}  // namespace evenkeel
