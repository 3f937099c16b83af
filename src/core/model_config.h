// The settings of one model, whatever file they came from (evenkeel.yaml, config.pbtxt, or the defaults).
//
// Units: durations are nanoseconds (Duration), sizes are rows or bytes as named.
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/device_size.h"
#include "core/pooling.h"
#include "core/tensor.h"

namespace evenkeel {

enum class BatchingPolicy : uint8_t { kAuto, kNone, kGreedy, kFixed };
enum class DeviceClass : uint8_t { kCpu, kGpu, kAuto };
enum class Precision : uint8_t { kF32, kBf16 };
enum class SampleMode : uint8_t { kOff, kMemory, kDisk };

struct BatchingConfig {
  BatchingPolicy policy =
      BatchingPolicy::kAuto;  // kAuto: the node's policy decides, together with all models
  int max_batch = 0;          // rows; 0: 64 when the model has a batch axis
  Duration max_delay{};       // kFixed only: the oldest row waits at most this long
  std::vector<int>
      preferred_sizes;  // Triton's preferred_batch_size; kFixed closes early at the largest that is reached
  int64_t max_queue_rows = 0;   // 0: 10,000
  int64_t max_queue_bytes = 0;  // 0: 256 MiB
};

// What the settings say of one tensor; unset fields come from the model.
struct TensorOverride {
  std::string name;
  DataType dtype = DataType::kInvalid;
  std::optional<Shape>
      shape;  // as the file's format means it, batch axis already added where the format leaves it out
  std::optional<IdRange> range;
  std::vector<std::string> labels;
};

// Settings that only language models have. Those that say 0 or nothing are chosen from the load table and the objectives.
struct LanguageConfig {
  int context_tokens = 0;    // of one sequence, prompt and answer; 0: the model's, or what fits
  int sequences = 0;         // that run at once; 0: chosen
  int64_t cache_tokens = 0;  // of all sequences together, kept between them too; 0: chosen
  std::optional<Duration> time_to_first_token;  // p99 to aim at, from arrival
  std::optional<Duration> inter_token;  // p99 to aim at, from one token of a sequence to the next
  std::optional<Pooling> pooling;       // of texts to vectors; unset: the file's, or by its kind
};

// One call of an ensemble: which model, and how its tensors are called in the ensemble.
struct EnsembleStep {
  struct Named {
    std::string own;     // the step's model's name of it
    std::string tensor;  // the ensemble's
  };
  std::string model;
  int64_t version = -1;  // -1: the newest
  std::vector<Named> inputs, outputs;
};

struct ModelConfig {
  std::string name;
  int64_t version = 1;
  std::string engine;  // "openvino", "llamacpp", "fake"; chosen by the file's suffix
  std::string path;    // absolute path of the model file, or folder where the format is a folder
  std::string
      folder;  // absolute folder that everything of the model must stay in; a link may lead elsewhere in it
  std::string platform;  // Triton's word: "onnxruntime_onnx", "openvino", ...; shown in metadata
  BatchingConfig batching;
  bool batch_axis_declared =
      false;  // max_batch was given, so axis 0 is a batch axis even where its size is fixed
  bool no_batch_axis =
      false;  // said outright: axis 0 is data even where it is dynamic, rows are never put together
  DeviceClass device = DeviceClass::kCpu;
  Precision precision = Precision::kF32;
  DeviceSize gpu_shape;   // of an instance on an accelerator; 0 cores: the server chooses
  int gpu_instances = 1;  // on an accelerator, with kAuto; with kGpu it is `instances` that counts
  int instances = 0;      // 0: as many as the forecast needs (A13); else a fixed number
  std::optional<int>
      min_instances;  // that stay without requests; unset: the server's setting, or the fixed number
  std::optional<Duration>
      keep_alive;   // without requests, until min_instances are left; unset: the server's setting
  int threads = 0;  // of an instance; 0: as many as cores
  std::optional<bool>
      hard_cores;  // whole cores by quota too, not by weight; unset: the server's setting
  // `precision: auto`: bf16 where the load table says that no output differs by more than `tolerance`; until then `precision`, f32.
  bool precision_auto = false;
  double tolerance = 0;
  bool profile = true;                // the daemon may measure it by itself
  std::optional<Duration> objective;  // p99; unset: max(50 ms, 10 T(1))
  Duration hang_timeout{};            // a batch may run this long; 0: max(10 s, 50 T(b))
  std::optional<SampleMode> samples;  // unset: the server's setting
  int default_priority = 8;           // 1 (first) to 16 (last)
  std::vector<TensorOverride> inputs;
  std::vector<TensorOverride> outputs;
  std::optional<LanguageConfig> language;  // unset: nothing was said; only with engine "llamacpp"
  // Not empty: the model is a graph of others' calls, in an order in which they can run.
  std::vector<EnsembleStep> ensemble;
  std::string source;  // file that these settings were read from; empty for a bare model
};

// What an engine must see of the model: all that it consists of is there, also where `path` is a link.
inline std::string FolderOf(const ModelConfig& model) {
  return model.folder.empty() ? std::filesystem::path(model.path).parent_path().string()
                              : model.folder;
}

}  // namespace evenkeel
