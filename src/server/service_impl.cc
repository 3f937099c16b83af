#include "server/service_impl.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "batching/loop_lag_gauge.h"
#include "core/log.h"
#include "repository/triton_config.h"
#include "server/describe.h"
#include "server/describe_ensemble.h"
#include "server/describe_language.h"
#include "server/metrics.h"
#include "server/metrics_language.h"
#include "server/profile_report.h"

namespace evenkeel {
namespace {

DurationStat ToStat(const CountAndTime& value) {
  return {value.count, static_cast<uint64_t>(value.time.count())};
}

// Milliseconds since the Unix epoch of a monotonic time.
uint64_t UnixMilliseconds(Time time) {
  if (time == Time{}) return 0;
  const auto ago = std::chrono::steady_clock::now() - time;
  const auto wall = std::chrono::system_clock::now() - ago;
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(wall.time_since_epoch()).count());
}

ModelStatistics ToStatistics(const ModelVersion& version) {
  const ModelStats stats = version.Stats();
  ModelStatistics out;
  out.name = version.name();
  out.version = version.version();
  out.last_inference_ms = UnixMilliseconds(stats.last_inference);
  out.inference_count = stats.rows;
  out.execution_count = stats.executions;
  out.success = ToStat(stats.success);
  out.fail = ToStat(stats.fail);
  out.queue = ToStat(stats.queue);
  out.compute_input = ToStat(stats.gather);
  out.compute_infer = ToStat(stats.compute);
  out.compute_output = ToStat(stats.scatter);
  out.cancel = ToStat(stats.cancel);
  for (const auto& [rows, size] : stats.by_size) {
    out.batch_stats.push_back({static_cast<uint64_t>(rows), ToStat(size.gather),
                               ToStat(size.compute), ToStat(size.scatter)});
  }
  return out;
}

}  // namespace

Result<std::shared_ptr<ServedModel>> ServiceImpl::Find(std::string_view name,
                                                       std::string_view version) {
  return registry_.FindForCall(name, version);
}

std::shared_ptr<LlmModel> ServiceImpl::Language(std::string_view name) const {
  for (const auto& model : registry_.Languages()) {
    if (model->options().name == name) return model;
  }
  return nullptr;
}

std::vector<LanguageModelInfo> ServiceImpl::LanguageModels() const {
  std::vector<LanguageModelInfo> models;
  for (const auto& model : registry_.Languages()) models.push_back(model->Info());
  return models;
}

Result<bool> ServiceImpl::ModelReady(std::string_view name, std::string_view version) const {
  if (const auto ensemble = registry_.Ensemble(name)) return ensemble->Ready().ok();
  if (const auto language = Language(name)) return language->available();
  const auto found = registry_.Find(name, version);
  if (found.ok()) return (*found)->available();
  if (found.status().code() == Code::kUnavailable) return false;
  return found.status();
}

Result<ModelMetadata> ServiceImpl::Metadata(std::string_view name, std::string_view version) const {
  if (Language(name)) {
    ModelMetadata language;
    language.name = name;
    language.platform = "llama_cpp";
    language.versions = {"1"};
    return language;
  }
  if (const auto ensemble = registry_.Ensemble(name)) {
    ModelMetadata metadata{ensemble->name(), "ensemble", {ensemble->version()}, {}, {}};
    metadata.inputs = ensemble->signature().inputs;
    metadata.outputs = ensemble->signature().outputs;
    return metadata;
  }
  const auto found = registry_.Find(name, version);
  if (!found.ok()) return found.status();
  ModelMetadata metadata;
  metadata.name = (*found)->name();
  metadata.platform = (*found)->config().platform;
  const auto versions = registry_.Serving(name, "");
  if (versions.ok()) {
    for (const auto& one : *versions) metadata.versions.push_back(one->version());
  }
  metadata.inputs = (*found)->signature().inputs;
  metadata.outputs = (*found)->signature().outputs;
  return metadata;
}

Result<nlohmann::json> ServiceImpl::Config(std::string_view name, std::string_view version) const {
  if (const auto ensemble = registry_.Ensemble(name))
    return ConfigToTritonJson(ensemble->config(), ensemble->signature());
  const auto found = registry_.Find(name, version);
  if (!found.ok()) return found.status();
  return ConfigToTritonJson((*found)->config(), (*found)->signature());
}

Result<std::vector<ModelStatistics>> ServiceImpl::Statistics(std::string_view name,
                                                             std::string_view version) const {
  if (const auto ensemble = registry_.Ensemble(name))
    return std::vector<ModelStatistics>{ensemble->Statistics()};
  const auto found = registry_.Serving(name, version);
  if (!found.ok()) return found.status();
  std::vector<ModelStatistics> all;
  if (name.empty()) {
    for (const auto& ensemble : registry_.Ensembles()) all.push_back(ensemble->Statistics());
  }
  for (const auto& one : *found) all.push_back(ToStatistics(*one));
  return all;
}

void ServiceImpl::LoadAsync(std::string name, std::string config_override,
                            std::function<void(Status)> done) {
  LogInfo("load of model '{}' was asked for", name);
  registry_.LoadAsync(std::move(name), std::move(config_override), std::move(done));
}

void ServiceImpl::UnloadAsync(std::string name, std::function<void(Status)> done) {
  LogInfo("unload of model '{}' was asked for", name);
  registry_.UnloadAsync(std::move(name), std::move(done));
}

nlohmann::json ServiceImpl::Describe() const {
  nlohmann::json models = nlohmann::json::array();
  for (const RepositoryEntry& entry : registry_.Index(false)) {
    if (const auto ensemble = registry_.Ensemble(entry.name)) {
      models.push_back(DescribeEnsemble(*ensemble));
      continue;
    }
    const auto found = entry.version.empty()
                           ? Result<std::shared_ptr<ModelVersion>>(Status(Code::kNotFound, ""))
                           : registry_.Find(entry.name, entry.version);
    const auto language = found.ok() ? nullptr : Language(entry.name);
    nlohmann::json model = language     ? DescribeLanguage(*language)
                           : found.ok() ? DescribeVersion(**found)
                                        : nlohmann::json{{"name", entry.name}};
    model["version"] = entry.version;
    model["state"] = entry.state;
    model["reason"] = entry.reason;
    models.push_back(std::move(model));
  }
  return {{"schema", "evenkeel.models/v1"},
          {"node", DescribeNode(registry_.context())},
          {"models", std::move(models)}};
}

Result<nlohmann::json> ServiceImpl::DescribeModel(std::string_view name) const {
  if (const auto ensemble = registry_.Ensemble(name)) {
    nlohmann::json model = DescribeEnsemble(*ensemble);
    model["schema"] = "evenkeel.model/v1";
    return model;
  }
  if (const auto language = Language(name)) {
    nlohmann::json model = DescribeLanguage(*language);
    model["schema"] = "evenkeel.model/v1";
    return model;
  }
  const auto found = registry_.Find(name, "");
  if (!found.ok()) return found.status();
  nlohmann::json model = DescribeVersion(**found);
  AddDetails(**found, &model);
  model["profile"] = DescribeProfile(profile_.ViewOf(**found), /*details=*/false);
  model["schema"] = "evenkeel.model/v1";
  return model;
}

Result<nlohmann::json> ServiceImpl::DescribeBatching(std::string_view name,
                                                     std::string_view version) const {
  if (const auto language = Language(name)) return DescribeLanguageBatching(*language);
  const auto found = registry_.Find(name, version);
  if (!found.ok()) return found.status();
  nlohmann::json batching = evenkeel::DescribeBatching(**found);
  batching["profile"] = DescribeProfile(profile_.ViewOf(**found), /*details=*/true);
  return batching;
}

std::vector<SampleSummary> ServiceImpl::Samples() const {
  std::vector<SampleSummary> summaries;
  for (const SampleSet& set : sampler_.Snapshot("")) {
    summaries.push_back({set.model, set.signature, set.seen, set.rows.size(), set.bytes});
  }
  return summaries;
}

Result<std::string> ServiceImpl::ExportSamples(std::string_view model) const {
  return sampler_.Export(std::string(model));
}

Status ServiceImpl::RemoveSamples(std::string_view model) {
  LogInfo("removal of samples was asked for: {}", model.empty() ? "all models" : model);
  return sampler_.Remove(std::string(model));
}

std::string ServiceImpl::MetricsText() const {
  std::vector<ModelMetrics> models;
  const auto serving = registry_.Serving("", "");
  if (serving.ok()) {
    for (const auto& version : *serving) {
      models.push_back({version->name(), version->version(), version->Stats(), version->Instances(),
                        version->InstancesNow(), version->device_class(), version->device_label(),
                        version->Outlook(), profile_.ViewOf(*version, /*details=*/false)});
    }
  }
  const ServingContext& context = registry_.context();
  NodeMetrics node;
  node.cores = CoresOfBatches(context);
  if (context.node != nullptr) node.load = context.node->LoadNow();
  node.memory = memory_.Read();
  if (context.loop_lag != nullptr) node.loop_lag = context.loop_lag->Lag(context.clock.Now());
  node.profile_core_s = profile_.core_seconds();
  return RenderMetrics(models, node, accelerators_.Uses()) +
         RenderLanguageMetrics(registry_.Languages());
}

}  // namespace evenkeel
