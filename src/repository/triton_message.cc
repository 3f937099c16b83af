#include "repository/triton_message.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "proto/model_config.pb.h"
#include "repository/ensemble.h"
#include "repository/limits.h"
#include "repository/paths.h"
#include "repository/triton_words.h"

namespace evenkeel {
namespace {

namespace pb = inference;

class Reader {
 public:
  Reader(const pb::ModelConfig& message, const FieldLocator& where, const FieldGiven& given,
         TritonConfig* out)
      : message_(message), where_(where), given_(given), out_(*out), config_(out->config) {}

  Status Read() {
    EK_RETURN_IF_ERROR(RefuseUnsupported());
    EK_RETURN_IF_ERROR(Names());
    EK_RETURN_IF_ERROR(MaxBatchSize());
    EK_RETURN_IF_ERROR(Inputs());
    EK_RETURN_IF_ERROR(Outputs());
    EK_RETURN_IF_ERROR(Ensemble());
    EK_RETURN_IF_ERROR(InstanceGroups());
    EK_RETURN_IF_ERROR(Versions());
    EK_RETURN_IF_ERROR(DynamicBatching());
    NoteIgnored();
    return Status::Ok();
  }

 private:
  template <typename... Args>
  Status Bad(Code code, std::string_view field, int index, std::string_view inner,
             fmt::format_string<Args...> format, Args&&... args) const {
    std::string path(field);
    if (index >= 0) path += fmt::format("[{}]", index);
    if (!inner.empty()) path += fmt::format(".{}", inner);
    return {code, fmt::format("{}{}: {}", where_(field, std::max(index, 0), inner), path,
                              fmt::format(format, std::forward<Args>(args)...))};
  }
  template <typename... Args>
  Status Invalid(std::string_view field, fmt::format_string<Args...> format, Args&&... args) const {
    return Bad(Code::kInvalidArgument, field, -1, "", format, std::forward<Args>(args)...);
  }
  template <typename... Args>
  Status NotSupported(std::string_view field, fmt::format_string<Args...> format,
                      Args&&... args) const {
    return Bad(Code::kUnsupported, field, -1, "", format, std::forward<Args>(args)...);
  }

  Status RefuseUnsupported() const {
    if (message_.has_sequence_batching()) {
      return NotSupported("sequence_batching",
                          "models that keep state over a sequence of requests are not supported");
    }
    if (message_.model_transaction_policy().decoupled()) {
      return NotSupported("model_transaction_policy", "decoupled models are not supported");
    }
    if (message_.batch_input_size() > 0)
      return NotSupported("batch_input", "ragged batches are not supported");
    if (message_.batch_output_size() > 0)
      return NotSupported("batch_output", "ragged batches are not supported");
    if (message_.model_operations().op_library_filename_size() > 0) {
      return NotSupported("model_operations", "code is never loaded from a models folder");
    }
    if (message_.has_model_repository_agents()) {
      return NotSupported("model_repository_agents",
                          "programs that change a model before it loads are not supported");
    }
    return Status::Ok();
  }

  Status Names() {
    if (!message_.name().empty() && message_.name() != config_.name) {
      return Invalid("name", "expected '{}', as the folder is named, got {}", config_.name,
                     Excerpt(message_.name()));
    }
    if (IsEnsemble()) {
      out_.platform = kEnsembleEngine;
      return Status::Ok();
    }
    const auto files = ModelFileNames(message_.platform(), message_.backend());
    if (!files.ok()) {
      const char* field = message_.platform().empty() ? "backend" : "platform";
      return Bad(files.status().code(), field, -1, "", "{}", files.status().message());
    }
    out_.platform = message_.platform();
    out_.backend = message_.backend();
    const std::string& file = message_.default_model_filename();
    const bool plain =
        file.find_first_of("/\\") == std::string::npos && !file.starts_with('.') && IsUtf8(file);
    if (!plain || file.size() > 255) {
      return Invalid("default_model_filename", "expected a plain file name, got {}", Excerpt(file));
    }
    out_.default_model_filename = file;
    return Status::Ok();
  }

  Status MaxBatchSize() {
    const int rows = message_.max_batch_size();
    if (rows < 0 || rows > kMaxBatchRows) {
      return Invalid("max_batch_size", "expected 0 to {}, got {}", kMaxBatchRows, rows);
    }
    if (!given_("max_batch_size")) return Status::Ok();
    config_.batching.max_batch = rows;
    config_.batch_axis_declared = rows > 0;
    config_.no_batch_axis = rows == 0;
    return Status::Ok();
  }

  template <typename Tensor>
  Status CheckTensor(const Tensor& tensor, std::string_view field, int i,
                     const std::vector<TensorOverride>& earlier) const {
    const Code kBad = Code::kInvalidArgument;
    if (tensor.name().empty()) return Bad(kBad, field, i, "name", "a name is missing");
    if (tensor.name().size() > kMaxTensorName || !IsUtf8(tensor.name())) {
      return Bad(kBad, field, i, "name", "expected at most {} bytes of UTF-8, got {}",
                 kMaxTensorName, Excerpt(tensor.name()));
    }
    if (std::ranges::find(earlier, tensor.name(), &TensorOverride::name) != earlier.end()) {
      return Bad(kBad, field, i, "name", "{} is listed twice", Excerpt(tensor.name()));
    }
    if (tensor.is_shape_tensor()) {
      return Bad(Code::kUnsupported, field, i, "is_shape_tensor",
                 "shape tensors are not supported");
    }
    if (tensor.is_non_linear_format_io()) {
      return Bad(Code::kUnsupported, field, i, "is_non_linear_format_io",
                 "only row-major tensors are supported");
    }
    if (tensor.has_reshape() && !std::ranges::equal(tensor.reshape().shape(), tensor.dims())) {
      return Bad(Code::kUnsupported, field, i, "reshape",
                 "a shape that differs from 'dims' is not supported");
    }
    return Status::Ok();
  }

  template <typename Tensor>
  Result<TensorOverride> ReadTensor(const Tensor& tensor, std::string_view field, int i) const {
    TensorOverride out;
    out.name = tensor.name();
    out.dtype = DataTypeFromTriton(tensor.data_type());
    if (tensor.dims_size() == 0) return out;  // to be taken from the model
    Shape shape;
    if (config_.batch_axis_declared) shape.push_back(kDynamic);
    for (int64_t dim : tensor.dims()) {
      if (dim != kDynamic && (dim < 1 || dim > kMaxDimension)) {
        return Bad(Code::kInvalidArgument, field, i, "dims", "expected -1 or 1 to {}, got {}",
                   kMaxDimension, dim);
      }
      if (shape.full()) {
        return Bad(Code::kInvalidArgument, field, i, "dims",
                   "at most {} axes are supported, got {}{}", kMaxRank, tensor.dims_size(),
                   config_.batch_axis_declared ? " and the batch axis" : "");
      }
      shape.push_back(dim);
    }
    out.shape = shape;
    return out;
  }

  Status Inputs() {
    if (!given_("input")) return Status::Ok();
    if (message_.input_size() > static_cast<int>(kMaxTensors)) {
      return Invalid("input", "at most {} are supported, got {}", kMaxTensors,
                     message_.input_size());
    }
    std::vector<TensorOverride> inputs;
    for (int i = 0; i < message_.input_size(); ++i) {
      const pb::ModelInput& input = message_.input(i);
      EK_RETURN_IF_ERROR(CheckTensor(input, "input", i, inputs));
      if (input.allow_ragged_batch()) {
        return Bad(Code::kUnsupported, "input", i, "allow_ragged_batch",
                   "ragged batches are not supported");
      }
      if (input.optional()) {
        return Bad(Code::kUnsupported, "input", i, "optional", "optional inputs are not supported");
      }
      Result<TensorOverride> tensor = ReadTensor(input, "input", i);
      if (!tensor.ok()) return tensor.status();
      KeepFrom(config_.inputs, &*tensor);
      inputs.push_back(std::move(tensor).value());
    }
    config_.inputs = std::move(inputs);
    return Status::Ok();
  }

  Status Outputs() {
    if (!given_("output")) return Status::Ok();
    if (message_.output_size() > static_cast<int>(kMaxTensors)) {
      return Invalid("output", "at most {} are supported, got {}", kMaxTensors,
                     message_.output_size());
    }
    std::vector<TensorOverride> outputs;
    for (int i = 0; i < message_.output_size(); ++i) {
      const pb::ModelOutput& output = message_.output(i);
      EK_RETURN_IF_ERROR(CheckTensor(output, "output", i, outputs));
      Result<TensorOverride> tensor = ReadTensor(output, "output", i);
      if (!tensor.ok()) return tensor.status();
      KeepFrom(config_.outputs, &*tensor);
      if (!output.label_filename().empty()) {
        const Result<std::string> path =
            ResolveRelative(config_.folder, config_.folder, output.label_filename());
        Result<std::vector<std::string>> labels = path.ok() ? ReadLabels(*path) : path.status();
        if (!labels.ok()) {
          return Bad(labels.status().code(), "output", i, "label_filename", "{}",
                     labels.status().message());
        }
        tensor->labels = std::move(labels).value();
      }
      outputs.push_back(std::move(tensor).value());
    }
    config_.outputs = std::move(outputs);
    return Status::Ok();
  }

  bool IsEnsemble() const {
    return message_.has_ensemble_scheduling() || message_.platform() == kEnsembleEngine;
  }

  // Every tensor of an ensemble has to be described: no file says what it is.
  template <typename Tensors>
  Status CheckDescribed(const Tensors& tensors, std::string_view field,
                        std::vector<std::string>* names) const {
    if (tensors.empty()) return Invalid(field, "an ensemble has to list its {}s", field);
    for (int i = 0; i < tensors.size(); ++i) {
      const auto& tensor = tensors.Get(i);
      if (DataTypeFromTriton(tensor.data_type()) == DataType::kInvalid)
        return Bad(Code::kInvalidArgument, field, i, "data_type",
                   "an ensemble has to give the type of {}", Excerpt(tensor.name()));
      if (tensor.dims_size() == 0)
        return Bad(Code::kInvalidArgument, field, i, "dims",
                   "an ensemble has to give the dims of {}", Excerpt(tensor.name()));
      names->push_back(tensor.name());
    }
    return Status::Ok();
  }

  Status Ensemble() {
    if (!IsEnsemble()) return Status::Ok();
    if (!message_.platform().empty() && message_.platform() != kEnsembleEngine)
      return Invalid("platform", "expected 'ensemble' beside ensemble_scheduling, got {}",
                     Excerpt(message_.platform()));
    config_.ensemble.clear();
    std::vector<std::string> inputs, outputs;
    EK_RETURN_IF_ERROR(CheckDescribed(message_.input(), "input", &inputs));
    EK_RETURN_IF_ERROR(CheckDescribed(message_.output(), "output", &outputs));
    for (const auto& step : message_.ensemble_scheduling().step()) {
      EnsembleStep read;
      read.model = step.model_name();
      read.version = step.model_version() == 0 ? -1 : step.model_version();
      if (read.version < -1)
        return Invalid("ensemble_scheduling", "model_version: expected -1 or at least 1, got {}",
                       step.model_version());
      if (!step.model_namespace().empty())
        return NotSupported("ensemble_scheduling", "model_namespace is not supported");
      for (const auto& [own, tensor] : step.input_map()) read.inputs.push_back({own, tensor});
      for (const auto& [own, tensor] : step.output_map()) read.outputs.push_back({own, tensor});
      std::ranges::sort(read.inputs, {}, &EnsembleStep::Named::own);
      std::ranges::sort(read.outputs, {}, &EnsembleStep::Named::own);
      config_.ensemble.push_back(std::move(read));
    }
    const Status ordered = OrderEnsemble(config_.name, inputs, outputs, &config_.ensemble);
    if (!ordered.ok()) return Invalid("ensemble_scheduling", "{}", ordered.message());
    return Status::Ok();
  }

  // What Triton's message has no words for stays as an earlier file set it.
  static void KeepFrom(const std::vector<TensorOverride>& old, TensorOverride* tensor) {
    const auto found = std::ranges::find(old, tensor->name, &TensorOverride::name);
    if (found == old.end()) return;
    tensor->range = found->range;
    tensor->labels = found->labels;
  }

  Status InstanceGroups() {
    if (message_.instance_group_size() == 0) return Status::Ok();
    int64_t total = 0;
    bool cpu = false;
    bool gpu = false;
    for (int i = 0; i < message_.instance_group_size(); ++i) {
      const pb::ModelInstanceGroup& group = message_.instance_group(i);
      if (group.count() < 0 || group.count() > kMaxInstances) {
        return Bad(Code::kInvalidArgument, "instance_group", i, "count", "expected 0 to {}, got {}",
                   kMaxInstances, group.count());
      }
      if (group.passive()) continue;  // holds no traffic in Triton either
      total += std::max(group.count(), 1);
      gpu |= group.kind() != pb::ModelInstanceGroup::KIND_CPU;
      cpu |= group.kind() != pb::ModelInstanceGroup::KIND_GPU;
    }
    if (total > kMaxInstances) {
      return Invalid("instance_group", "expected at most {} instances, got {}", kMaxInstances,
                     total);
    }
    config_.instances = static_cast<int>(std::max<int64_t>(total, 1));
    // KIND_AUTO and KIND_MODEL leave the choice open, as do groups of both kinds.
    config_.device = gpu && cpu ? DeviceClass::kAuto : gpu ? DeviceClass::kGpu : DeviceClass::kCpu;
    return Status::Ok();
  }

  Status Versions() {
    const pb::ModelVersionPolicy& policy = message_.version_policy();
    VersionPolicy& out = out_.versions;
    if (policy.has_all()) {
      out.kind = VersionPolicy::Kind::kAll;
    } else if (policy.has_specific()) {
      out.kind = VersionPolicy::Kind::kSpecific;
      out.specific.assign(policy.specific().versions().begin(), policy.specific().versions().end());
      if (out.specific.empty()) return Invalid("version_policy", "'specific' lists no versions");
      for (int64_t version : out.specific) {
        if (version < 1)
          return Invalid("version_policy", "expected versions of at least 1, got {}", version);
      }
    } else if (policy.has_latest()) {
      out.latest = policy.latest().num_versions();
      if (out.latest == 0)
        return Invalid("version_policy", "'latest' needs 'num_versions' of at least 1");
    }
    return Status::Ok();
  }

  Status DynamicBatching() {
    if (!message_.has_dynamic_batching()) {
      if (given_("dynamic_batching")) config_.batching.policy = BatchingPolicy::kNone;
      return Status::Ok();
    }
    const pb::ModelDynamicBatching& dynamic = message_.dynamic_batching();
    BatchingConfig& batching = config_.batching;
    constexpr std::string_view kField = "dynamic_batching";
    const uint64_t delay_us = dynamic.max_queue_delay_microseconds();
    const auto max_us =
        static_cast<uint64_t>(std::chrono::microseconds(std::chrono::seconds(60)).count());
    static_assert(kMaxBatchDelay == std::chrono::seconds(60));
    if (delay_us > max_us) {
      return Bad(Code::kInvalidArgument, kField, -1, "max_queue_delay_microseconds",
                 "expected 0 to {}, got {}", max_us, delay_us);
    }
    batching.max_delay = std::chrono::microseconds(delay_us);
    batching.policy = delay_us > 0 ? BatchingPolicy::kFixed : BatchingPolicy::kAuto;
    EK_RETURN_IF_ERROR(PreferredSizes(dynamic));
    EK_RETURN_IF_ERROR(Priorities(dynamic));
    if (dynamic.default_queue_policy().max_queue_size() > 0) {
      batching.max_queue_rows =
          std::min<int64_t>(dynamic.default_queue_policy().max_queue_size(), kMaxQueueRows);
    }
    if (dynamic.default_queue_policy().default_timeout_microseconds() > 0 ||
        dynamic.priority_queue_policy_size() > 0) {
      Note("dynamic_batching: queue timeouts and the queue policies of single priorities");
    }
    return Status::Ok();
  }

  Status PreferredSizes(const pb::ModelDynamicBatching& dynamic) {
    constexpr std::string_view kField = "dynamic_batching";
    constexpr std::string_view kInner = "preferred_batch_size";
    if (dynamic.preferred_batch_size_size() > kMaxPreferredSizes) {
      return Bad(Code::kInvalidArgument, kField, -1, kInner, "at most {} are supported, got {}",
                 kMaxPreferredSizes, dynamic.preferred_batch_size_size());
    }
    const int most = config_.batching.max_batch > 0 ? config_.batching.max_batch : kMaxBatchRows;
    std::vector<int> sizes;
    for (int size : dynamic.preferred_batch_size()) {
      if (size < 1 || size > most) {
        return Bad(Code::kInvalidArgument, kField, -1, kInner, "expected 1 to {}, got {}", most,
                   size);
      }
      sizes.push_back(size);
    }
    std::ranges::sort(sizes);
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    config_.batching.preferred_sizes = std::move(sizes);
    return Status::Ok();
  }

  Status Priorities(const pb::ModelDynamicBatching& dynamic) {
    constexpr std::string_view kField = "dynamic_batching";
    const uint64_t levels = dynamic.priority_levels();
    if (levels == 0) return Status::Ok();
    if (levels > kMaxPriority) {
      return Bad(Code::kUnsupported, kField, -1, "priority_levels",
                 "at most {} are supported, got {}", kMaxPriority, levels);
    }
    const uint64_t level = dynamic.default_priority_level();
    if (level < 1 || level > levels) {
      return Bad(Code::kInvalidArgument, kField, -1, "default_priority_level",
                 "expected 1 to {}, got {}", levels, level);
    }
    config_.default_priority = static_cast<int>(level);
    return Status::Ok();
  }

  void Note(std::string_view what) const {
    LogDebug("model '{}': {} in its configuration: read, not acted on", config_.name, what);
  }

  void NoteIgnored() const {
    const std::array<std::pair<std::string_view, bool>, 8> ignored = {{
        {"parameters", message_.parameters_size() > 0},
        {"optimization", message_.has_optimization()},
        {"model_warmup", message_.model_warmup_size() > 0},
        {"response_cache", message_.has_response_cache()},
        {"metric_tags", message_.metric_tags_size() > 0},
        {"model_metrics", message_.has_model_metrics()},
        {"cc_model_filenames", message_.cc_model_filenames_size() > 0},
        {"runtime", !message_.runtime().empty()},
    }};
    for (const auto& [field, present] : ignored) {
      if (present) Note(field);
    }
  }

  const pb::ModelConfig& message_;
  const FieldLocator& where_;
  const FieldGiven& given_;
  TritonConfig& out_;
  ModelConfig& config_;
};

}  // namespace

Result<TritonConfig> ReadTritonConfig(const inference::ModelConfig& message,
                                      const ModelConfig& base, const FieldLocator& where,
                                      const FieldGiven& given) {
  TritonConfig out;
  out.config = base;
  EK_RETURN_IF_ERROR(Reader(message, where, given, &out).Read());
  return out;
}

}  // namespace evenkeel
