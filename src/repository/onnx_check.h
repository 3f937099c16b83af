// A look at an ONNX file before an engine sees it: is it whole, and does it keep to itself?
//
// Walks the protobuf structure without building it, in time and memory of the structure, not of the weights. Refuses: bytes
// that are no ONNX model, or are cut off; nesting over 96 messages, 2^23 messages or 2^26 fields; tensors whose data is not
// as long as type and dimensions say (products checked for overflow); external data that leaves the model's folder or is
// not all there; a graph without inputs or outputs, or with one of rank over 8.
// Not for: whether operators and types make sense. The engine says that.
// Errors: kInvalidArgument; kUnsupported for what is well-formed but beyond us; kTooLarge.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

// `root` is the canonical folder that external data must lie in. Messages do not name the file.
Status CheckOnnxFile(const std::string& path, const std::string& root);

// The same for a model in memory, whose external data may not be anywhere. For tests and fuzzing.
Status CheckOnnxBytes(std::string_view bytes);

}  // namespace evenkeel
