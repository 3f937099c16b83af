#include "frontends/grpc_control.h"

#include <google/protobuf/util/json_util.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "frontends/guarded_service.h"
#include "proto/grpc_service.pb.h"

namespace evenkeel {
namespace {

void Fill(const TensorSpec& spec, inference::ModelMetadataResponse::TensorMetadata* tensor) {
  tensor->set_name(spec.name);
  tensor->set_datatype(std::string(NameOf(spec.dtype)));
  for (const int64_t d : spec.shape.dims()) tensor->add_shape(d);
}

void Fill(const DurationStat& stat, inference::StatisticDuration* duration) {
  duration->set_count(stat.count);
  duration->set_ns(stat.ns);
}

void Fill(const ModelStatistics& from, inference::ModelStatistics* to) {
  to->set_name(from.name);
  to->set_version(from.version);
  to->set_last_inference(from.last_inference_ms);
  to->set_inference_count(from.inference_count);
  to->set_execution_count(from.execution_count);
  inference::InferStatistics* const stats = to->mutable_inference_stats();
  Fill(from.success, stats->mutable_success());
  Fill(from.fail, stats->mutable_fail());
  Fill(from.queue, stats->mutable_queue());
  Fill(from.compute_input, stats->mutable_compute_input());
  Fill(from.compute_infer, stats->mutable_compute_infer());
  Fill(from.compute_output, stats->mutable_compute_output());
  stats->mutable_cache_hit();  // present and zero, as clients print them
  stats->mutable_cache_miss();
  for (const ModelStatistics::Batch& batch : from.batch_stats) {
    inference::InferBatchStatistics* const size = to->add_batch_stats();
    size->set_batch_size(batch.batch_size);
    Fill(batch.compute_input, size->mutable_compute_input());
    Fill(batch.compute_infer, size->mutable_compute_infer());
    Fill(batch.compute_output, size->mutable_compute_output());
  }
}

// There is one repository, without a name.
Status CheckRepository(const std::string& name) {
  return name.empty() ? Status::Ok()
                      : Unsupported("repository_name '{}': repositories have no names here", name);
}

struct TraceDefault {
  const char* name;
  const char* value;
};
constexpr std::array<TraceDefault, 6> kTraceDefaults = {{{"trace_file", ""},
                                                         {"trace_level", "OFF"},
                                                         {"trace_rate", "1000"},
                                                         {"trace_count", "-1"},
                                                         {"log_frequency", "0"},
                                                         {"trace_mode", "triton"}}};

using LogValue = inference::LogSettingsRequest::SettingValue;

// What the settings are now, as levels of spdlog: each of the protocol's switches shows whether its lines are written.
void FillLogSettings(inference::LogSettingsResponse* response) {
  const auto level = spdlog::get_level();
  auto& settings = *response->mutable_settings();
  settings["log_file"].set_string_param("");
  settings["log_info"].set_bool_param(level <= spdlog::level::info);
  settings["log_warning"].set_bool_param(level <= spdlog::level::warn);
  settings["log_error"].set_bool_param(level <= spdlog::level::err);
  settings["log_verbose_level"].set_uint32_param(level <= spdlog::level::debug ? 1 : 0);
  settings["log_format"].set_string_param("default");
}

// One setting applied to `level`. Switches are nested levels, so switching one off switches off those below it.
Status ApplyLogSetting(const std::string& name, const LogValue& value,
                       spdlog::level::level_enum* level) {
  using spdlog::level::level_enum;
  const auto toggle = [&](level_enum own, level_enum above) -> Status {
    if (value.parameter_choice_case() != LogValue::kBoolParam)
      return InvalidArgument("log setting '{}': expected a bool", name);
    *level = value.bool_param() ? std::min(*level, own) : std::max(*level, above);
    return Status::Ok();
  };
  if (name == "log_error") return toggle(level_enum::err, level_enum::critical);
  if (name == "log_warning") return toggle(level_enum::warn, level_enum::err);
  if (name == "log_info") return toggle(level_enum::info, level_enum::warn);
  if (name == "log_verbose_level") {
    if (value.parameter_choice_case() != LogValue::kUint32Param)
      return InvalidArgument("log setting '{}': expected a number", name);
    if (value.uint32_param() > 0) *level = std::min(*level, level_enum::debug);
    if (value.uint32_param() == 0) *level = std::max(*level, level_enum::info);
    return Status::Ok();
  }
  const bool unchanged = (name == "log_file" && value.string_param().empty()) ||
                         (name == "log_format" && value.string_param() == "default");
  if (unchanged) return Status::Ok();
  if (name == "log_file" || name == "log_format")
    return Unsupported("log setting '{}' cannot be changed", name);
  return InvalidArgument("unknown log setting '{}'", name);
}

}  // namespace

void GetServerMetadata(inference::ServerMetadataResponse* response) {
  response->set_name(std::string(kServerName));
  response->set_version(EVENKEEL_VERSION);
  for (const std::string_view extension : kServerExtensions)
    response->add_extensions(std::string(extension));
}

Status GetModelReady(const GuardedService& service, const inference::ModelReadyRequest& request,
                     inference::ModelReadyResponse* response) {
  const auto ready = service.ModelReady(request.name(), request.version());
  response->set_ready(ready.ok() && *ready);
  return ready.ok() || ready.status().code() == Code::kNotFound ? Status::Ok() : ready.status();
}

Status GetModelMetadata(const GuardedService& service,
                        const inference::ModelMetadataRequest& request,
                        inference::ModelMetadataResponse* response) {
  const auto metadata = service.Metadata(request.name(), request.version());
  if (!metadata.ok()) return metadata.status();
  response->set_name(metadata->name);
  response->set_platform(metadata->platform);
  for (const std::string& version : metadata->versions) response->add_versions(version);
  for (const TensorSpec& spec : metadata->inputs) Fill(spec, response->add_inputs());
  for (const TensorSpec& spec : metadata->outputs) Fill(spec, response->add_outputs());
  return Status::Ok();
}

Status GetModelConfig(const GuardedService& service, const inference::ModelConfigRequest& request,
                      inference::ModelConfigResponse* response) {
  const auto config = service.Config(request.name(), request.version());
  if (!config.ok()) return config.status();
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      config->dump(), response->mutable_config(), options);
  if (parsed.ok()) return Status::Ok();
  return Internal("model '{}': its configuration does not fit the protocol: {}", request.name(),
                  std::string(parsed.message()));
}

Status GetModelStatistics(const GuardedService& service,
                          const inference::ModelStatisticsRequest& request,
                          inference::ModelStatisticsResponse* response) {
  const auto statistics = service.Statistics(request.name(), request.version());
  if (!statistics.ok()) return statistics.status();
  for (const ModelStatistics& model : *statistics) Fill(model, response->add_model_stats());
  return Status::Ok();
}

Status GetRepositoryIndex(const GuardedService& service,
                          const inference::RepositoryIndexRequest& request,
                          inference::RepositoryIndexResponse* response) {
  EK_RETURN_IF_ERROR(CheckRepository(request.repository_name()));
  for (RepositoryEntry& entry : service.RepositoryIndex(request.ready())) {
    auto* const model = response->add_models();
    model->set_name(std::move(entry.name));
    model->set_version(std::move(entry.version));
    model->set_state(std::move(entry.state));
    model->set_reason(std::move(entry.reason));
  }
  return Status::Ok();
}

void LoadModel(GuardedService& service, const inference::RepositoryModelLoadRequest& request,
               std::function<void(Status)> done) {
  if (const Status named = CheckRepository(request.repository_name()); !named.ok())
    return done(named);
  std::string config;
  for (const auto& [key, value] : request.parameters()) {
    if (key.starts_with("file:"))
      return done(Unsupported("parameter '{}': files in a load request are not supported", key));
    if (key != "config") continue;
    if (!value.has_string_param())
      return done(InvalidArgument("parameter 'config': expected string_param"));
    config = value.string_param();
  }
  // Excerpt(): a name of a request may hold line ends, and must not write lines of its own into the log.
  LogInfo("grpc: load of model {} requested{}{}", Excerpt(request.model_name(), 128),
          config.empty() ? "" : " with a configuration", service.access().By());
  service.LoadAsync(request.model_name(), std::move(config), std::move(done));
}

void UnloadModel(GuardedService& service, const inference::RepositoryModelUnloadRequest& request,
                 std::function<void(Status)> done) {
  if (const Status named = CheckRepository(request.repository_name()); !named.ok())
    return done(named);
  LogInfo("grpc: unload of model {} requested{}", Excerpt(request.model_name(), 128),
          service.access().By());
  service.UnloadAsync(request.model_name(), std::move(done));
}

Status ApplyTraceSettings(const inference::TraceSettingRequest& request,
                          inference::TraceSettingResponse* response) {
  for (const auto& [name, setting] : request.settings()) {
    const auto known =
        std::find_if(kTraceDefaults.begin(), kTraceDefaults.end(),
                     [&name = name](const TraceDefault& d) { return name == d.name; });
    if (known == kTraceDefaults.end()) return InvalidArgument("unknown trace setting '{}'", name);
    const bool unchanged =
        setting.value().empty() || (setting.value_size() == 1 && setting.value(0) == known->value);
    if (!unchanged) return Unsupported("trace setting '{}': tracing is not supported", name);
  }
  for (const auto& [name, value] : kTraceDefaults)
    (*response->mutable_settings())[name].add_value(value);
  return Status::Ok();
}

Status ApplyLogSettings(const GuardedService& service, const inference::LogSettingsRequest& request,
                        inference::LogSettingsResponse* response) {
  const auto before = spdlog::get_level();
  auto level = before;
  for (const auto& [name, value] : request.settings())
    EK_RETURN_IF_ERROR(ApplyLogSetting(name, value, &level));
  if (level != before) {
    // At whichever of the two levels shows it: who silences the log is in it.
    spdlog::set_level(std::min(level, before));
    LogInfo("grpc: log level {} requested{}",
            std::string_view(spdlog::level::to_string_view(level).data()), service.access().By());
    spdlog::set_level(level);
  }
  FillLogSettings(response);
  return Status::Ok();
}

}  // namespace evenkeel
