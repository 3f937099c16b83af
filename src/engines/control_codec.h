// The control messages between daemon and worker, as JSON text: load, loaded, failed.
//
//   daemon → worker  {"op":"load","path","device","threads","bf16","cache_dir","emulated"?:{"a_ns","c_ns","m0","m1","memory",
//                   "cores"}}
//   worker → daemon  {"op":"loaded","signature":{"inputs":[{"name","dtype","shape","range"?}],"outputs":[...]},"engine":{...}}
//   worker → daemon  {"op":"failed","code","message"}
// Contract: decoders take any bytes: unknown fields are ignored, everything used is checked (counts, names unique and not empty,
//   dtypes, ranks, dimensions, ranges). No engine is needed to link this.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

struct EngineOptions;

// What a worker says once its model is ready.
struct LoadedModel {
  Signature signature;  // `batched` and `max_batch` are left at their defaults
  std::string engine;   // JSON object: Engine::Describe()
};

std::string EncodeLoad(const EngineOptions& options);
std::string EncodeLoaded(const LoadedModel& model);
std::string EncodeFailed(const Status& status);

// Error: kInternal when the message is not of this kind or breaks its rules.
Result<EngineOptions> DecodeLoad(std::string_view message);
// The status of a "failed" message comes back as the error. Error kInternal as above.
Result<LoadedModel> DecodeLoaded(std::string_view message);

}  // namespace evenkeel
