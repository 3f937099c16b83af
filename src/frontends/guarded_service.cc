#include "frontends/guarded_service.h"

#include <nlohmann/json.hpp>

namespace evenkeel {

using nlohmann::json;

Result<std::shared_ptr<ServedModel>> GuardedService::Find(std::string_view name,
                                                          std::string_view version) const {
  EK_RETURN_IF_ERROR(access_.CheckInfer(name));
  return service_.Find(name, version);
}

Result<std::shared_ptr<LanguageModel>> GuardedService::FindLanguageModel(
    std::string_view name) const {
  EK_RETURN_IF_ERROR(access_.CheckInfer(name));
  return service_.FindLanguageModel(name);
}

Result<LanguageModelInfo> GuardedService::DescribeLanguageModel(std::string_view name) const {
  EK_RETURN_IF_ERROR(access_.CheckSee(name));
  const Result<std::shared_ptr<LanguageModel>> model = service_.FindLanguageModel(name);
  if (!model.ok()) return model.status();
  return (*model)->Info();
}

std::vector<LanguageModelInfo> GuardedService::LanguageModels() const {
  std::vector<LanguageModelInfo> models = service_.LanguageModels();
  std::erase_if(models, [this](const LanguageModelInfo& m) { return !access_.Sees(m.name); });
  return models;
}

Result<bool> GuardedService::ModelReady(std::string_view name, std::string_view version) const {
  EK_RETURN_IF_ERROR(access_.CheckSee(name));
  return service_.ModelReady(name, version);
}

Result<ModelMetadata> GuardedService::Metadata(std::string_view name,
                                               std::string_view version) const {
  EK_RETURN_IF_ERROR(access_.CheckSee(name));
  return service_.Metadata(name, version);
}

Result<json> GuardedService::Config(std::string_view name, std::string_view version) const {
  EK_RETURN_IF_ERROR(access_.CheckSee(name));
  return service_.Config(name, version);
}

Result<std::vector<ModelStatistics>> GuardedService::Statistics(std::string_view name,
                                                                std::string_view version) const {
  if (!name.empty()) EK_RETURN_IF_ERROR(access_.CheckSee(name));
  Result<std::vector<ModelStatistics>> models = service_.Statistics(name, version);
  if (models.ok())
    std::erase_if(*models, [this](const ModelStatistics& m) { return !access_.Sees(m.name); });
  return models;
}

std::vector<RepositoryEntry> GuardedService::RepositoryIndex(bool ready_only) const {
  std::vector<RepositoryEntry> entries = service_.RepositoryIndex(ready_only);
  std::erase_if(entries, [this](const RepositoryEntry& e) { return !access_.Sees(e.name); });
  return entries;
}

json GuardedService::Describe() const {
  json description = service_.Describe();
  if (access_.everything()) return description;
  json seen = json::array();
  for (json& model : description["models"]) {
    if (access_.Sees(model.value("name", ""))) seen.push_back(std::move(model));
  }
  description["models"] = std::move(seen);
  if (!access_.CheckManage().ok()) description.erase("cluster");
  return description;
}

Result<json> GuardedService::DescribeModel(std::string_view name) const {
  EK_RETURN_IF_ERROR(access_.CheckSee(name));
  return service_.DescribeModel(name);
}

Result<json> GuardedService::DescribeBatching(std::string_view name,
                                              std::string_view version) const {
  EK_RETURN_IF_ERROR(access_.CheckSee(name));
  return service_.DescribeBatching(name, version);
}

void GuardedService::LoadAsync(std::string name, std::string config_override,
                               std::function<void(Status)> done) {
  const Status allowed = access_.CheckManage();
  if (!allowed.ok()) return done(allowed);
  service_.LoadAsync(std::move(name), std::move(config_override), std::move(done));
}

void GuardedService::UnloadAsync(std::string name, std::function<void(Status)> done) {
  const Status allowed = access_.CheckManage();
  if (!allowed.ok()) return done(allowed);
  service_.UnloadAsync(std::move(name), std::move(done));
}

Result<std::vector<SampleSummary>> GuardedService::Samples() const {
  EK_RETURN_IF_ERROR(access_.CheckManage());
  return service_.Samples();
}

Result<std::string> GuardedService::ExportSamples(std::string_view model) const {
  EK_RETURN_IF_ERROR(access_.CheckManage());
  return service_.ExportSamples(model);
}

Status GuardedService::RemoveSamples(std::string_view model) {
  EK_RETURN_IF_ERROR(access_.CheckManage());
  return service_.RemoveSamples(model);
}

Result<json> GuardedService::DescribeCluster() const {
  EK_RETURN_IF_ERROR(access_.CheckManage());
  return service_.DescribeCluster();
}

void GuardedService::SetNodeState(std::string node, std::string state,
                                  std::function<void(Status)> done) {
  const Status allowed = access_.CheckManage();
  if (!allowed.ok()) return done(allowed);
  service_.SetNodeState(std::move(node), std::move(state), std::move(done));
}

Result<json> GuardedService::DescribeMembership() const {
  EK_RETURN_IF_ERROR(access_.CheckManage());
  return service_.DescribeMembership();
}

void GuardedService::ChangeMembership(std::string change, std::string node,
                                      std::function<void(Status)> done) {
  const Status allowed = access_.CheckManage();
  if (!allowed.ok()) return done(allowed);
  service_.ChangeMembership(std::move(change), std::move(node), std::move(done));
}

void GuardedService::DeployModel(DeployRequest request, std::function<void(Result<json>)> done) {
  const Status allowed = access_.CheckManage();
  if (!allowed.ok()) return done(allowed);
  service_.DeployModel(std::move(request), std::move(done));
}

void GuardedService::UndeployModel(UndeployRequest request,
                                   std::function<void(Result<json>)> done) {
  const Status allowed = access_.CheckManage();
  if (!allowed.ok()) return done(allowed);
  service_.UndeployModel(std::move(request), std::move(done));
}

void GuardedService::StorePlan(std::string plan, std::function<void(Result<json>)> done) {
  const Status allowed = access_.CheckManage();
  if (!allowed.ok()) return done(allowed);
  service_.StorePlan(std::move(plan), std::move(done));
}

Result<json> GuardedService::Deploys() const {
  EK_RETURN_IF_ERROR(access_.CheckManage());
  return service_.Deploys();
}

Result<std::string> GuardedService::MetricsText() const {
  EK_RETURN_IF_ERROR(access_.CheckMetrics());
  return service_.MetricsText();
}

Result<std::vector<std::string>> GuardedService::WhyNotReady() const {
  EK_RETURN_IF_ERROR(access_.CheckMetrics());
  std::vector<std::string> why;
  static_cast<void>(service_.Ready(&why));
  return why;
}

}  // namespace evenkeel
