// Inference answers as JSON with optional binary tensors.
//
// Contract: numbers are written in the shortest form that reads back as the same value; what JSON
//   cannot say (NaN, infinities) becomes null and is counted. Each output is copied once, into the
//   body that is sent.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"
#include "core/tensor.h"
#include "frontends/kserve_json.h"

namespace evenkeel {

struct InferBody {
  std::string bytes;
  std::optional<size_t> json_size;  // set when binary tensors follow the JSON
  std::string warning;              // about values sent as null; empty: none
};

// `outputs` are a model's, one a Signature::outputs entry. Errors: kInvalidArgument for what the
// client asked and cannot have (classes of strings, strings that are not UTF-8 as JSON).
Result<InferBody> WriteInferBody(const InferRequest& request, std::string_view model,
                                 std::string_view version, const Signature& signature,
                                 std::span<const TensorView> outputs);

}  // namespace evenkeel
