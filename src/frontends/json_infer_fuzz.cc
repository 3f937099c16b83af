// Any bytes as the JSON of an inference request.
#include <cstddef>
#include <cstdint>
#include <span>

#include "frontends/infer_fuzz_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  evenkeel::InferRequest request;
  const evenkeel::Status status = evenkeel::ParseInferRequest(
      std::as_bytes(std::span(data, size)), std::nullopt, "m", evenkeel::FuzzSignature(), &request);
  if (status.ok()) evenkeel::CheckParsed(request);
  return 0;
}
