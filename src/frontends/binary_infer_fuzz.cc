// Any bytes as an inference request with binary tensors. The first two bytes are the length that
// the header claims.
#include <cstddef>
#include <cstdint>
#include <span>

#include "frontends/infer_fuzz_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint64_t json_size = static_cast<uint64_t>(data[0]) + static_cast<uint64_t>(data[1]) * 256;
  evenkeel::InferRequest request;
  const evenkeel::Status status =
      evenkeel::ParseInferRequest(std::as_bytes(std::span(data + 2, size - 2)), json_size, "m",
                                  evenkeel::FuzzSignature(), &request);
  if (status.ok()) evenkeel::CheckParsed(request);
  return 0;
}
