// Any bytes as the beginning of a connection between nodes: no crash, and a verdict on a part never contradicts that on the whole.
#include <cstdlib>

#include "cluster/link/client_hello.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using evenkeel::link::HelloVerdict;
  const std::span<const uint8_t> bytes(data, size);
  const HelloVerdict whole = evenkeel::link::LookAtHello(bytes);
  const size_t step = size < 600 ? 1 : size / 600;
  for (size_t n = 0; n < size; n += step) {
    const HelloVerdict part = evenkeel::link::LookAtHello(bytes.first(n));
    if (part != HelloVerdict::kMore && part != whole) std::abort();
  }
  return 0;
}
