// Any bytes: the readers either refuse them or give content that encodes to a file they read as the
// same.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "profiling/safetensors.h"
#include "profiling/sample_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto content = evenkeel::DecodeSafetensors(file);
  if (content.ok()) {
    const auto again = evenkeel::EncodeSafetensors(*content);
    if (!again.ok() || !evenkeel::DecodeSafetensors(std::as_bytes(std::span(*again))).ok())
      std::abort();
  }
  const auto samples = evenkeel::DecodeSamples(file);
  if (samples.ok() && !evenkeel::EncodeSamples({&*samples, 1}).ok()) std::abort();
  return 0;
}
