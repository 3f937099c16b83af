#include "repository/manifest_yaml.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/format.h"
#include "core/parse.h"
#include "repository/limits.h"
#include "repository/paths.h"
#include "repository/yaml_reader.h"
#include "repository/yaml_tree.h"

namespace evenkeel {
namespace {

using Rule = YamlReader::Rule;
template <typename Enum>
using Choice = YamlReader::Choice<Enum>;

constexpr std::array<Choice<BatchingPolicy>, 4> kPolicies = {{{"auto", BatchingPolicy::kAuto},
                                                              {"none", BatchingPolicy::kNone},
                                                              {"greedy", BatchingPolicy::kGreedy},
                                                              {"fixed", BatchingPolicy::kFixed}}};
enum class PrecisionWord : uint8_t { kF32, kBf16, kAuto };
constexpr std::array<Choice<PrecisionWord>, 3> kPrecisions = {
    {{"f32", PrecisionWord::kF32}, {"bf16", PrecisionWord::kBf16}, {"auto", PrecisionWord::kAuto}}};
constexpr std::array<Choice<bool>, 2> kProfiling = {{{"auto", true}, {"off", false}}};
constexpr std::array<Choice<bool>, 2> kTrueOrFalse = {{{"true", true}, {"false", false}}};
constexpr std::array<Choice<DeviceClass>, 3> kClasses = {
    {{"cpu", DeviceClass::kCpu}, {"gpu", DeviceClass::kGpu}, {"auto", DeviceClass::kAuto}}};
constexpr std::array<Choice<SampleMode>, 3> kSampleModes = {
    {{"off", SampleMode::kOff}, {"memory", SampleMode::kMemory}, {"disk", SampleMode::kDisk}}};
constexpr std::array<Choice<Pooling>, 5> kPoolings = {{{"none", Pooling::kNone},
                                                       {"mean", Pooling::kMean},
                                                       {"cls", Pooling::kCls},
                                                       {"last", Pooling::kLast},
                                                       {"rank", Pooling::kRank}}};

std::vector<std::string> DataTypeNames() {
  std::vector<std::string> names;
  for (int i = 1; i < kDataTypeCount; ++i) names.emplace_back(NameOf(static_cast<DataType>(i)));
  return names;
}

// Reads one manifest. The methods' names are the keys'.
class ManifestReader {
 public:
  ManifestReader(const std::string& source, Manifest* manifest)
      : reader_(source), manifest_(*manifest), config_(manifest->config) {}

  Status Read(const YamlNode& root) {
    const std::array<Rule, 24> rules = {{
        {"name", [this](const auto& v, const auto& k) { return Name(v, k); }},
        {"version", [this](const auto& v, const auto& k) { return Version(v, k); }},
        {"engine", [this](const auto& v, const auto& k) { return Engine(v, k); }},
        {"file",
         [this](const auto& v, const auto& k) {
           manifest_.file_line = v.line;
           return reader_.ReadText(v, k, 1024, &manifest_.file);
         }},
        {"max_batch", [this](const auto& v, const auto& k) { return MaxBatch(v, k); }},
        {"batching", [this](const auto& v, const auto& k) { return Batching(v, k); }},
        {"objective", [this](const auto& v, const auto& k) { return Objective(v, k); }},
        {"precision",
         [this](const auto& v, const auto& k) {
           PrecisionWord word{};
           EK_RETURN_IF_ERROR(reader_.ReadChoice<PrecisionWord>(v, k, kPrecisions, &word));
           config_.precision = word == PrecisionWord::kBf16 ? Precision::kBf16 : Precision::kF32;
           config_.precision_auto = word == PrecisionWord::kAuto;
           return Status::Ok();
         }},
        {"tolerance",
         [this](const auto& v, const auto& k) {
           tolerance_given_ = true;
           return reader_.ReadNumber(v, k, 0, kMaxTolerance, &config_.tolerance);
         }},
        {"profile",
         [this](const auto& v, const auto& k) {
           return reader_.ReadChoice<bool>(v, k, kProfiling, &config_.profile);
         }},
        {"class",
         [this](const auto& v, const auto& k) {
           return reader_.ReadChoice<DeviceClass>(v, k, kClasses, &config_.device);
         }},
        {"instances", [this](const auto& v, const auto& k) { return Instances(v, k); }},
        {"min_instances", [this](const auto& v, const auto& k) { return MinInstances(v, k); }},
        {"keep_alive",
         [this](const auto& v, const auto& k) {
           Duration time{};
           EK_RETURN_IF_ERROR(reader_.ReadDuration(v, k, Duration(0), kMaxKeepAlive, &time));
           config_.keep_alive = time;
           return Status::Ok();
         }},
        {"gpu_shape", [this](const auto& v, const auto& k) { return GpuShape(v, k); }},
        {"gpu_instances",
         [this](const auto& v, const auto& k) {
           return reader_.ReadInt(v, k, 1, kMaxInstances, &config_.gpu_instances);
         }},
        {"threads",
         [this](const auto& v, const auto& k) {
           return reader_.ReadInt(v, k, 0, kMaxThreads, &config_.threads);
         }},
        {"hard_cores",
         [this](const auto& v, const auto& k) {
           bool hard = false;
           EK_RETURN_IF_ERROR(reader_.ReadChoice<bool>(v, k, kTrueOrFalse, &hard));
           config_.hard_cores = hard;
           return Status::Ok();
         }},
        {"priority",
         [this](const auto& v, const auto& k) {
           return reader_.ReadInt(v, k, 1, kMaxPriority, &config_.default_priority);
         }},
        {"hang_timeout",
         [this](const auto& v, const auto& k) {
           return reader_.ReadDuration(v, k, kMinHangTimeout, kMaxHangTimeout,
                                       &config_.hang_timeout);
         }},
        {"inputs",
         [this](const auto& v, const auto& k) { return Tensors(v, k, true, &config_.inputs); }},
        {"outputs",
         [this](const auto& v, const auto& k) { return Tensors(v, k, false, &config_.outputs); }},
        {"samples",
         [this](const auto& v, const auto& k) {
           SampleMode mode{};
           EK_RETURN_IF_ERROR(reader_.ReadChoice<SampleMode>(v, k, kSampleModes, &mode));
           config_.samples = mode;
           return Status::Ok();
         }},
        {"language", [this](const auto& v, const auto& k) { return Language(v, k); }},
    }};
    EK_RETURN_IF_ERROR(reader_.ReadMap(root, "", rules));
    for (const YamlNode::Entry& entry : root.entries) {
      manifest_.keys.push_back({entry.key, entry.line, entry.column});
    }
    return CheckTogether(root);
  }

 private:
  Status Name(const YamlNode& v, const std::string& key) {
    std::string name;
    EK_RETURN_IF_ERROR(reader_.ReadText(v, key, 128, &name));
    if (!IsModelName(name)) {
      return reader_.Expected(v, key, "a letter or digit, then letters, digits, '.', '_' or '-'");
    }
    if (!config_.name.empty() && name != config_.name) {
      return reader_.Expected(v, key, fmt::format("'{}', as the folder is named", config_.name));
    }
    config_.name = name;
    return Status::Ok();
  }

  Status GpuShape(const YamlNode& v, const std::string& key) {
    std::string text;
    EK_RETURN_IF_ERROR(reader_.ReadText(v, key, 64, &text));
    const auto size = ParseDeviceSize(text);
    if (!size.ok()) return reader_.Error(v, key, size.status().message());
    config_.gpu_shape = *size;
    return Status::Ok();
  }

  Status Version(const YamlNode& v, const std::string& key) {
    EK_RETURN_IF_ERROR(
        reader_.ReadInt64(v, key, 1, std::numeric_limits<int64_t>::max(), &config_.version));
    manifest_.version = config_.version;
    return Status::Ok();
  }

  Status Engine(const YamlNode& v, const std::string& key) {
    constexpr std::array<Choice<std::string_view>, 3> kEngines = {
        {{"openvino", "openvino"}, {"llamacpp", "llamacpp"}, {"fake", "fake"}}};
    std::string_view engine;
    EK_RETURN_IF_ERROR(reader_.ReadChoice<std::string_view>(v, key, kEngines, &engine));
    config_.engine = engine;
    manifest_.engine_given = true;
    return Status::Ok();
  }

  // 0 says that there is no batch axis.
  Status MaxBatch(const YamlNode& v, const std::string& key) {
    if (max_batch_given_) {
      return reader_.Error(v, key, "given twice: as 'max_batch' and as 'batching.max_batch'");
    }
    EK_RETURN_IF_ERROR(reader_.ReadInt(v, key, 0, kMaxBatchRows, &config_.batching.max_batch));
    max_batch_given_ = true;
    config_.no_batch_axis = config_.batching.max_batch == 0;
    config_.batch_axis_declared = !config_.no_batch_axis;
    return Status::Ok();
  }

  // `auto`, or a fixed number.
  Status Instances(const YamlNode& v, const std::string& key) {
    if (v.kind == YamlNode::Kind::kScalar && v.text == "auto") {
      config_.instances = 0;
      return Status::Ok();
    }
    if (!reader_.ReadInt(v, key, 1, kMaxInstances, &config_.instances).ok()) {
      return reader_.Expected(v, key, fmt::format("auto or 1 to {}", kMaxInstances));
    }
    return CheckInstances(v, key);
  }

  Status MinInstances(const YamlNode& v, const std::string& key) {
    int number = 0;
    EK_RETURN_IF_ERROR(reader_.ReadInt(v, key, 0, kMaxInstances, &number));
    config_.min_instances = number;
    return CheckInstances(v, key);
  }

  // Called with whichever comes second.
  Status CheckInstances(const YamlNode& v, const std::string& key) const {
    const int least = config_.min_instances.value_or(0);
    if (config_.instances == 0 || least <= config_.instances) return Status::Ok();
    return reader_.Error(
        v, key, fmt::format("min_instances, {}, is above instances, {}", least, config_.instances));
  }

  Status Objective(const YamlNode& v, const std::string& key) {
    Duration objective{};
    EK_RETURN_IF_ERROR(reader_.ReadDuration(v, key, kMinObjective, kMaxObjective, &objective));
    config_.objective = objective;
    return Status::Ok();
  }

  Status Batching(const YamlNode& v, const std::string& key) {
    BatchingConfig& batching = config_.batching;
    const std::array<Rule, 6> rules = {{
        {"policy",
         [&](const auto& n, const auto& k) {
           return reader_.ReadChoice<BatchingPolicy>(n, k, kPolicies, &batching.policy);
         }},
        {"max_batch", [this](const auto& n, const auto& k) { return MaxBatch(n, k); }},
        {"max_delay",
         [&](const auto& n, const auto& k) {
           delay_given_ = true;
           return reader_.ReadDuration(n, k, Duration(0), kMaxBatchDelay, &batching.max_delay);
         }},
        {"preferred_sizes", [this](const auto& n, const auto& k) { return PreferredSizes(n, k); }},
        {"max_queue_rows",
         [&](const auto& n, const auto& k) {
           return reader_.ReadInt64(n, k, 1, kMaxQueueRows, &batching.max_queue_rows);
         }},
        {"max_queue_bytes",
         [&](const auto& n, const auto& k) {
           return reader_.ReadBytes(n, k, kMinQueueBytes, kMaxQueueBytes,
                                    &batching.max_queue_bytes);
         }},
    }};
    EK_RETURN_IF_ERROR(reader_.ReadMap(v, key, rules));
    if (delay_given_ && batching.max_delay > Duration(0) &&
        batching.policy != BatchingPolicy::kFixed) {
      return reader_.Error(v, key, "'max_delay' needs 'policy: fixed'");
    }
    return Status::Ok();
  }

  Status PreferredSizes(const YamlNode& v, const std::string& key) {
    const auto items = reader_.ReadList(v, key, kMaxPreferredSizes);
    if (!items.ok()) return items.status();
    std::vector<int> sizes;
    for (const YamlNode& item : *items) {
      EK_RETURN_IF_ERROR(reader_.ReadInt(item, key, 1, kMaxBatchRows, &sizes.emplace_back()));
    }
    std::ranges::sort(sizes);
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    config_.batching.preferred_sizes = std::move(sizes);
    return Status::Ok();
  }

  Status Tensors(const YamlNode& v, const std::string& key, bool input,
                 std::vector<TensorOverride>* out) {
    const auto items = reader_.ReadList(v, key, kMaxTensors);
    if (!items.ok()) return items.status();
    for (size_t i = 0; i < items->size(); ++i) {
      const YamlNode& item = (*items)[i];
      const std::string path = fmt::format("{}[{}]", key, i);
      TensorOverride tensor;
      EK_RETURN_IF_ERROR(Tensor(item, path, input, &tensor));
      if (tensor.name.empty()) return reader_.Error(item, path, "'name' is missing");
      if (!listed_.insert_new(key, tensor.name)) {
        return reader_.Error(item, path, fmt::format("{} is listed twice", Excerpt(tensor.name)));
      }
      // What an earlier file (config.pbtxt) said of the tensor stays unless it is said anew.
      const auto old = std::ranges::find(*out, tensor.name, &TensorOverride::name);
      if (old == out->end()) {
        out->push_back(std::move(tensor));
      } else {
        Merge(std::move(tensor), &*old);
      }
    }
    return Status::Ok();
  }

  static void Merge(TensorOverride from, TensorOverride* to) {
    if (from.dtype != DataType::kInvalid) to->dtype = from.dtype;
    if (from.shape) to->shape = from.shape;
    if (from.range) to->range = from.range;
    if (!from.labels.empty()) to->labels = std::move(from.labels);
  }

  Status Tensor(const YamlNode& v, const std::string& path, bool input, TensorOverride* tensor) {
    const Rule name = {"name", [&](const auto& n, const auto& k) {
                         return reader_.ReadText(n, k, kMaxTensorName, &tensor->name);
                       }};
    const Rule type = {
        "datatype", [&](const auto& n, const auto& k) { return DataTypeOf(n, k, &tensor->dtype); }};
    const Rule shape = {
        "shape", [&](const auto& n, const auto& k) { return ShapeOf(n, k, &tensor->shape); }};
    const Rule range = {
        "range", [&](const auto& n, const auto& k) { return RangeOf(n, k, &tensor->range); }};
    const Rule labels = {
        "labels", [&](const auto& n, const auto& k) { return Labels(n, k, &tensor->labels); }};
    const std::array<Rule, 4> rules = {name, type, shape, input ? range : labels};
    return reader_.ReadMap(v, path, rules);
  }

  Status DataTypeOf(const YamlNode& v, const std::string& key, DataType* out) const {
    if (v.kind == YamlNode::Kind::kScalar) {
      const DataType type = DataTypeFromName(v.text);
      if (type != DataType::kInvalid) {
        *out = type;
        return Status::Ok();
      }
    }
    return reader_.Expected(v, key, fmt::format("one of {}", fmt::join(DataTypeNames(), ", ")));
  }

  Status ShapeOf(const YamlNode& v, const std::string& key, std::optional<Shape>* out) const {
    const auto items = reader_.ReadList(v, key, kMaxRank);
    if (!items.ok()) return items.status();
    Shape shape;
    for (const YamlNode& item : *items) {
      int64_t dim = 0;
      EK_RETURN_IF_ERROR(reader_.ReadInt64(item, key, kDynamic, kMaxDimension, &dim));
      if (dim == 0) return reader_.Expected(item, key, "-1 (any size) or at least 1");
      shape.push_back(dim);
    }
    *out = shape;
    return Status::Ok();
  }

  Status RangeOf(const YamlNode& v, const std::string& key, std::optional<IdRange>* out) const {
    using Limits = std::numeric_limits<int64_t>;
    if (v.kind != YamlNode::Kind::kList || v.items.size() != 2) {
      return reader_.Expected(v, key, "two whole numbers: [lowest, highest]");
    }
    IdRange range;
    EK_RETURN_IF_ERROR(reader_.ReadInt64(v.items[0], key, Limits::min(), Limits::max(), &range.lo));
    EK_RETURN_IF_ERROR(reader_.ReadInt64(v.items[1], key, Limits::min(), Limits::max(), &range.hi));
    if (range.lo > range.hi) {
      return reader_.Error(
          v, key, fmt::format("the lowest, {}, is above the highest, {}", range.lo, range.hi));
    }
    *out = range;
    return Status::Ok();
  }

  Status Labels(const YamlNode& v, const std::string& key, std::vector<std::string>* out) const {
    if (v.kind == YamlNode::Kind::kScalar) {
      const Result<std::string> path = ResolveRelative(config_.folder, config_.folder, v.text);
      if (!path.ok()) return reader_.Error(v, key, path.status().message());
      Result<std::vector<std::string>> labels = ReadLabels(*path);
      if (!labels.ok()) return reader_.Error(v, key, labels.status().message());
      *out = std::move(labels).value();
      return Status::Ok();
    }
    const auto items = reader_.ReadList(v, key, kMaxLabels);
    if (!items.ok()) return reader_.Expected(v, key, "a file of labels or a list of them");
    for (const YamlNode& item : *items) {
      EK_RETURN_IF_ERROR(reader_.ReadText(item, key, kMaxTensorName, &out->emplace_back()));
    }
    return Status::Ok();
  }

  Status Language(const YamlNode& v, const std::string& key) {
    LanguageConfig language = config_.language.value_or(LanguageConfig{});
    const auto objective = [this](std::optional<Duration>* out) {
      return [this, out](const auto& n, const auto& k) {
        Duration time{};
        EK_RETURN_IF_ERROR(reader_.ReadDuration(n, k, kMinObjective, kMaxObjective, &time));
        *out = time;
        return Status::Ok();
      };
    };
    const std::array<Rule, 6> rules = {{
        {"context",
         [&](const auto& n, const auto& k) {
           return reader_.ReadInt(n, k, kMinContextTokens, kMaxContextTokens,
                                  &language.context_tokens);
         }},
        {"sequences",
         [&](const auto& n, const auto& k) {
           return reader_.ReadInt(n, k, 0, kMaxSequences, &language.sequences);
         }},
        {"cache_tokens",
         [&](const auto& n, const auto& k) {
           return reader_.ReadInt64(n, k, 0, kMaxCacheTokens, &language.cache_tokens);
         }},
        {"time_to_first_token", objective(&language.time_to_first_token)},
        {"inter_token", objective(&language.inter_token)},
        {"pooling",
         [&](const auto& n, const auto& k) {
           Pooling pooling = Pooling::kNone;
           EK_RETURN_IF_ERROR(reader_.ReadChoice<Pooling>(n, k, kPoolings, &pooling));
           language.pooling = pooling;
           return Status::Ok();
         }},
    }};
    EK_RETURN_IF_ERROR(reader_.ReadMap(v, key, rules));
    if (language.cache_tokens > 0 && language.cache_tokens < language.context_tokens) {
      return reader_.Error(v, key,
                           fmt::format("'cache_tokens', {}, is below 'context', {}: not one "
                                       "sequence would fit",
                                       language.cache_tokens, language.context_tokens));
    }
    config_.language = language;
    return Status::Ok();
  }

  // Settings that only make sense together.
  Status CheckTogether(const YamlNode& root) const {
    if (config_.precision_auto != tolerance_given_) {
      return reader_.Error(root, "tolerance",
                           tolerance_given_
                               ? "has a meaning only with 'precision: auto'"
                               : "'precision: auto' needs it: the largest difference from f32 that "
                                 "an output may have");
    }
    const BatchingConfig& batching = config_.batching;
    if (batching.max_batch > 0 && !batching.preferred_sizes.empty() &&
        batching.preferred_sizes.back() > batching.max_batch) {
      return reader_.Error(root, "batching.preferred_sizes",
                           fmt::format("{} is above max_batch, {}", batching.preferred_sizes.back(),
                                       batching.max_batch));
    }
    return Status::Ok();
  }

  // Names met so far in `inputs` and in `outputs`.
  struct Listed {
    std::vector<std::pair<std::string, std::string>> names;
    bool insert_new(const std::string& key, const std::string& name) {
      const std::pair<std::string, std::string> entry(key, name);
      if (std::ranges::find(names, entry) != names.end()) return false;
      names.push_back(entry);
      return true;
    }
  };

  const YamlReader reader_;
  Manifest& manifest_;
  ModelConfig& config_;
  Listed listed_;
  bool max_batch_given_ = false;
  bool delay_given_ = false;
  bool tolerance_given_ = false;
};

}  // namespace

Result<Manifest> ParseManifest(std::string_view text, const std::string& source,
                               const ModelConfig& base) {
  const Result<YamlNode> root = ParseYaml(text, source);
  if (!root.ok()) return root.status();
  Manifest manifest;
  manifest.config = base;
  manifest.config.source = source;
  ManifestReader reader(source, &manifest);
  EK_RETURN_IF_ERROR(reader.Read(*root));
  return manifest;
}

}  // namespace evenkeel
