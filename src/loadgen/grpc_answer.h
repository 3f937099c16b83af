// What of a gRPC answer is compared: the raw output tensors, one after the other.
// Thread-safety: thread-safe.
#pragma once

#include <string>

namespace grpc {
class ByteBuffer;
}

namespace evenkeel::loadgen {

// The message itself where it does not parse or carries typed contents.
std::string OutputBytes(const grpc::ByteBuffer& message);

}  // namespace evenkeel::loadgen
