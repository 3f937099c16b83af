// One TensorProto of an ONNX file: does its data have the length that type and dimensions ask for?
//
// Thread-safety: thread-compatible.
#pragma once

#include "core/status.h"
#include "repository/byte_source.h"
#include "repository/external_data.h"
#include "repository/wire.h"

namespace evenkeel::onnx {

// Skips over the data itself. `fields` is counted up by the fields looked at. Errors name the tensor.
Status CheckTensor(ByteSource& source, ByteRange range, ExternalData& external, uint64_t* fields);

}  // namespace evenkeel::onnx
