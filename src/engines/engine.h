// An inference engine inside a worker process: loads one model, runs batches.
//
// Use for: adapters (openvino/, fake/). Never linked into the daemon.
// Contract: Load() once, then Run() from one thread. Run() reads inputs where they lie and puts outputs through the sink; it
//   returns an error when the batch as a whole failed (the daemon then finds the guilty rows). A call may abort the process.
// Thread-safety: single-owner (the worker's loop).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/emulated_gpu.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

struct EngineOptions {
  std::string path;       // model file or folder
  std::string device;     // "CPU", "GPU", "GPU.1", "NPU": as the engine names it
  int threads = 1;        // >= 1
  bool bf16 = false;      // false: results as in f32
  std::string cache_dir;  // compiled-model cache; empty: none
  // Tests and simulation: the engine runs on `device`, and is as slow as this (engines/emulated/).
  std::optional<EmulatedShare> emulated{};
};

// Where a run's outputs go. One call of Allocate a model output, in any order.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // Memory for output `index` (of Signature::outputs), 64-byte aligned, valid until the sink is destroyed.
  // nullptr when there is no room for `bytes` (the run must then fail with kTooLarge). May be called again for the same output:
  // the later call replaces the earlier.
  virtual std::byte* Allocate(int index, DataType dtype, const Shape& shape, size_t bytes) = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  // Errors: kInvalidArgument (the file is no model, or not one this engine reads), kUnsupported, kInternal.
  // The signature's `batched` and `max_batch` are left to the daemon; ranges are filled where the graph tells.
  virtual Result<Signature> Load(const EngineOptions& options) = 0;
  // `inputs` has one view a Signature::inputs entry, in that order, shapes complete.
  virtual Status Run(std::span<const TensorView> inputs, OutputSink& outputs) = 0;
  // Facts for `show`: engine version, device, precision in use.
  virtual nlohmann::json Describe() const = 0;
};

// A worker executable's main: speaks the channel of ipc/ on inherited descriptors and drives one engine. Returns the exit code.
int RunWorker(Engine& engine, int argc, char** argv);

}  // namespace evenkeel
