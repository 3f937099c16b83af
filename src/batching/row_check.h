// Checks one call against a model's signature before it may join a batch, so that a bad row never meets its neighbours.
//
// Contract: every input once and only once, datatype, rank, dimensions, byte count (BYTES: element lengths), BOOL values 0 or 1,
//   ids within their range, the same number of rows (>= 1) in every input. Does not block, allocates only for messages.
// Errors: kInvalidArgument naming the model, the tensor, what was expected and what came.
// Thread-safety: thread-safe (pure).
#pragma once

#include <string_view>

#include "core/infer.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

// Sorts call.inputs into signature order. On success returns the rows along the batch axis (1 when the model does not batch).
Result<int64_t> CheckCall(std::string_view model, const Signature& signature, InferCall& call);

}  // namespace evenkeel
