// Inference requests as JSON with optional binary tensors: the Open Inference Protocol's HTTP form
// and its binary extension.
//
// Contract: read strictly. Refused with a message that names the tensor: trailing bytes, lone
//   surrogates, duplicate keys (also inside what is not read), invalid UTF-8, nesting beyond 64, numbers that
//   do not fit their data type (1.0 is no integer), ragged arrays, sizes that do not add up.
//   Parameters that are not known are ignored; sequences and shared memory are kUnsupported.
//   Whether data type and shape fit the model is left to ServedModel::Infer.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

inline constexpr int kMaxTensors = 64;  // inputs or outputs of one request

struct RequestedOutput {
  uint32_t spec = 0;  // index into Signature::outputs
  bool binary = false;
  int classes = 0;  // > 0: the classification extension's top `classes`
};

struct InferRequest {
  std::string id;
  std::vector<TensorView> inputs;                     // views into the body, or into `storage`
  std::vector<RequestedOutput> outputs;               // never empty after parsing
  int priority = 0;                                   // 0: not given
  Duration timeout{};                                 // zero: not given
  std::vector<std::unique_ptr<std::byte[]>> storage;  // of tensors that came as JSON
};

// `json_size`: the value of Inference-Header-Content-Length, if given; binary tensors follow the
// JSON text then, and 0 is a raw binary request (see kserve_raw.h). `model` names the model in messages. Errors: kInvalidArgument, kUnsupported.
Status ParseInferRequest(std::span<const std::byte> body, std::optional<uint64_t> json_size,
                         std::string_view model, const Signature& signature, InferRequest* out);

}  // namespace evenkeel
