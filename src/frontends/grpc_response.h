// Writes ModelInferResponse and ModelStreamInferResponse in protobuf's wire format, without
// protobuf: outputs are copied once, from where the engine left them to where gRPC sends them from.
//
// Use: size() bytes are allocated by the caller, then Write() fills them. What the description
// points at must live until then. Thread-safety: values; thread-compatible.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/grpc_wire.h"

namespace evenkeel {

struct WireOutput {
  std::string_view name;
  DataType dtype = DataType::kInvalid;
  Shape shape;
  ByteSpan data;  // becomes its entry of raw_output_contents
};

struct WireInferResponse {
  std::string_view model_name, model_version, id;
  std::vector<WireOutput> outputs;
  bool in_stream =
      false;  // wrapped as ModelStreamInferResponse, and marked as the request's last answer
};

class InferResponseWriter {
 public:
  explicit InferResponseWriter(const WireInferResponse& response);
  size_t size() const { return size_; }
  // Writes exactly size() bytes.
  void Write(std::byte* out) const;

 private:
  const WireInferResponse& response_;
  size_t inner_size_ = 0;  // of the ModelInferResponse
  size_t size_ = 0;
};

// ModelStreamInferResponse for a request of a stream that failed: its id and the message.
std::string WriteStreamError(std::string_view id, std::string_view message);

}  // namespace evenkeel
