#include "repository/triton_config.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/format.h"
#include "core/parse.h"
#include "proto/model_config.pb.h"
#include "repository/triton_message.h"
#include "repository/triton_words.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxJsonBytes = size_t{1} << 20;
constexpr int kMaxJsonDepth = 32;
constexpr std::string_view kSource = "config";

Json Dims(const TensorSpec& spec, bool batched) {
  Json dims = Json::array();
  for (int64_t dim : spec.shape.dims().subspan(batched ? 1 : 0)) dims.push_back(dim);
  return dims;
}

Json InputJson(const TensorSpec& spec, bool batched) {
  return {{"name", spec.name},        {"data_type", TritonNameOf(spec.dtype)},
          {"format", "FORMAT_NONE"},  {"dims", Dims(spec, batched)},
          {"is_shape_tensor", false}, {"allow_ragged_batch", false},
          {"optional", false},        {"is_non_linear_format_io", false}};
}

Json OutputJson(const TensorSpec& spec, bool batched) {
  return {{"name", spec.name},           {"data_type", TritonNameOf(spec.dtype)},
          {"dims", Dims(spec, batched)}, {"label_filename", ""},
          {"is_shape_tensor", false},    {"is_non_linear_format_io", false}};
}

Json DynamicBatchingJson(const ModelConfig& config) {
  const BatchingConfig& batching = config.batching;
  const auto delay = std::chrono::duration_cast<std::chrono::microseconds>(batching.max_delay);
  return {{"preferred_batch_size", batching.preferred_sizes},
          {"max_queue_delay_microseconds", delay.count()},
          {"preserve_ordering", false},
          {"priority_levels", 16},
          {"default_priority_level", config.default_priority},
          {"priority_queue_policy", Json::object()}};
}

Json InstanceGroupJson(const ModelConfig& config) {
  const char* kind = config.device == DeviceClass::kGpu   ? "KIND_GPU"
                     : config.device == DeviceClass::kCpu ? "KIND_CPU"
                                                          : "KIND_AUTO";
  return {{"name", config.name},
          {"kind", kind},
          {"count", std::max(1, config.instances)},
          {"gpus", Json::array()},
          {"profile", Json::array()},
          {"passive", false},
          {"host_policy", ""},
          {"secondary_devices", Json::array()}};
}

// The fields that a JSON document gives, and its refusal when it is malformed, too deep or repeats a key: protobuf's own
// reader lets the last of two equal keys win.
class FieldScan {
 public:
  Status Read(std::string_view text) {
    const auto on_event = [this](int depth, Json::parse_event_t event, Json& value) {
      return OnEvent(depth, event, value);
    };
    const Json document = Json::parse(text, on_event, /*allow_exceptions=*/false);
    if (!error_.ok()) return error_;
    if (document.is_discarded()) return InvalidArgument("{}: malformed JSON", kSource);
    if (!document.is_object()) {
      return InvalidArgument("{}: expected a JSON object, got {}", kSource, document.type_name());
    }
    for (const auto& [key, value] : document.items()) {
      if (value.is_null()) continue;  // protobuf's JSON reads null as "not given"
      const auto* descriptor = inference::ModelConfig::descriptor();
      const auto* field = descriptor->FindFieldByName(key);
      if (field == nullptr) field = descriptor->FindFieldByCamelcaseName(key);
      if (field == nullptr) return InvalidArgument("{}: unknown field {}", kSource, Excerpt(key));
      if (!given_.insert(field->name()).second) {
        return InvalidArgument("{}: field '{}' is given twice", kSource, field->name());
      }
    }
    return Status::Ok();
  }

  bool Given(std::string_view field) const { return given_.find(field) != given_.end(); }

 private:
  bool OnEvent(int depth, Json::parse_event_t event, const Json& value) {
    if (!error_.ok()) return false;
    if (depth > kMaxJsonDepth) {
      error_ = InvalidArgument("{}: nested more than {} deep", kSource, kMaxJsonDepth);
      return false;
    }
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_.pop_back();
    if (event == Json::parse_event_t::key &&
        !keys_.back().insert(value.get_ref<const std::string&>()).second) {
      error_ = InvalidArgument("{}: key {} is given twice", kSource,
                               Excerpt(value.get_ref<const std::string&>()));
    }
    return error_.ok();
  }

  std::set<std::string, std::less<>> given_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  Status error_;
};

}  // namespace

nlohmann::json ConfigToTritonJson(const ModelConfig& config, const Signature& signature) {
  Json inputs = Json::array();
  for (const TensorSpec& spec : signature.inputs)
    inputs.push_back(InputJson(spec, signature.batched));
  Json outputs = Json::array();
  for (const TensorSpec& spec : signature.outputs)
    outputs.push_back(OutputJson(spec, signature.batched));
  Json json = {{"name", config.name},
               {"platform", config.platform},
               {"backend", BackendOf(config.platform)},
               {"runtime", ""},
               {"version_policy", {{"specific", {{"versions", {config.version}}}}}},
               {"max_batch_size", signature.batched ? signature.max_batch : 0},
               {"input", std::move(inputs)},
               {"output", std::move(outputs)},
               {"batch_input", Json::array()},
               {"batch_output", Json::array()},
               {"optimization", {{"priority", "PRIORITY_DEFAULT"}}},
               {"instance_group", Json::array({InstanceGroupJson(config)})},
               {"default_model_filename", config.path.substr(config.path.find_last_of('/') + 1)},
               {"cc_model_filenames", Json::object()},
               {"metric_tags", Json::object()},
               {"parameters", Json::object()},
               {"model_warmup", Json::array()}};
  if (!config.ensemble.empty()) {
    Json steps = Json::array();
    for (const EnsembleStep& step : config.ensemble) {
      Json from = Json::object(), to = Json::object();
      for (const auto& one : step.inputs) from[one.own] = one.tensor;
      for (const auto& one : step.outputs) to[one.own] = one.tensor;
      steps.push_back({{"model_name", step.model},
                       {"model_version", step.version},
                       {"input_map", std::move(from)},
                       {"output_map", std::move(to)}});
    }
    json["ensemble_scheduling"] = {{"step", std::move(steps)}};
    json["instance_group"] = Json::array();
    return json;
  }
  if (config.batching.policy != BatchingPolicy::kNone && signature.batched) {
    json["dynamic_batching"] = DynamicBatchingJson(config);
  }
  return json;
}

Result<ModelConfig> ApplyTritonOverride(const ModelConfig& config, std::string_view json) {
  if (json.size() > kMaxJsonBytes) {
    return TooLarge("{}: {} bytes; at most {} are read", kSource, json.size(), kMaxJsonBytes);
  }
  if (!IsUtf8(json)) return InvalidArgument("{}: not UTF-8", kSource);
  FieldScan scan;
  EK_RETURN_IF_ERROR(scan.Read(json));
  inference::ModelConfig message;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &message);
  if (!parsed.ok()) {
    return InvalidArgument("{}: {}", kSource,
                           std::string_view(parsed.message().data(), parsed.message().size()));
  }
  const FieldLocator where = [](std::string_view, int, std::string_view) {
    return std::string(kSource) + ": ";
  };
  const FieldGiven given = [&scan](std::string_view field) { return scan.Given(field); };
  Result<TritonConfig> changed = ReadTritonConfig(message, config, where, given);
  if (!changed.ok()) return changed.status();
  if (!changed->platform.empty()) changed->config.platform = changed->platform;
  return std::move(changed->config);
}

}  // namespace evenkeel
