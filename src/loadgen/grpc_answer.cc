#include "loadgen/grpc_answer.h"

#include <grpcpp/grpcpp.h>

#include "proto/grpc_service.pb.h"

namespace evenkeel::loadgen {

std::string OutputBytes(const grpc::ByteBuffer& message) {
  std::string bytes;
  std::vector<grpc::Slice> slices;
  if (message.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices)
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  inference::ModelInferResponse response;
  if (!response.ParseFromString(bytes) || response.raw_output_contents_size() == 0) return bytes;
  std::string outputs;
  for (const std::string& output : response.raw_output_contents()) outputs += output;
  return outputs;
}

}  // namespace evenkeel::loadgen
