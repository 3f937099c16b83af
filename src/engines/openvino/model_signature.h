// A compiled model's inputs and outputs as a Signature.
//
// Names: as the model's file has them. A tensor of several names takes the one its graph node goes by, else the first in alphabetical order that is
//   not taken; one without a name is "input_N" or "output_N".
// Thread-safety: thread-safe.
#pragma once

#include <openvino/core/type/element_type.hpp>

#include "core/status.h"
#include "core/tensor.h"

namespace ov {
class CompiledModel;
}  // namespace ov

namespace evenkeel {

// kInvalid where the protocol has no such type (4-bit and 8-bit floats, ...).
DataType DataTypeOf(const ov::element::Type& type);

// `tensorflow`: a tensor that is called "operation:0" goes by its operation's name, as in Triton's configurations.
// Error kUnsupported, naming the tensor: no fixed rank, a rank above 8, a type that the protocol lacks.
Result<Signature> SignatureOf(const ov::CompiledModel& model, bool tensorflow = false);

}  // namespace evenkeel
