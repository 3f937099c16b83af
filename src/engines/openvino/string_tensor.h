// BYTES tensors of the protocol (a 4-byte length before each element) as the engine's string tensors, and back.
// Thread-safety: thread-safe.
#pragma once

#include <openvino/runtime/tensor.hpp>

#include "core/tensor.h"
#include "engines/engine.h"

namespace evenkeel {

// Copies. REQUIRES: `view` has been checked (its elements fill it exactly).
ov::Tensor StringTensorOf(const TensorView& view);

// Writes the elements through the sink. Error: kTooLarge when the sink has no room.
Status WriteStrings(const ov::Tensor& tensor, int index, const Shape& shape, OutputSink& sink);

}  // namespace evenkeel
