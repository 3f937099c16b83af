// Inference requests whose whole body is the data of the model's only input: the binary extension's
// raw binary request, sent with Inference-Header-Content-Length: 0.
//
// Contract: name and data type are the model's, the shape is inferred: 1 for the batch axis, and
//   what the size gives for one further axis that is free. Of a BYTES input the body is the only
//   element, without a length before it. All outputs are sent as binary.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <span>

#include "core/status.h"
#include "core/tensor.h"
#include "frontends/kserve_json.h"

namespace evenkeel {

// The input is a view into `body`, but for BYTES. Error kInvalidArgument: the model has not exactly
// one input, its shape cannot be inferred, or the size does not fit it.
Status ReadRawRequest(std::span<const std::byte> body, const Signature& signature,
                      InferRequest* out);

}  // namespace evenkeel
