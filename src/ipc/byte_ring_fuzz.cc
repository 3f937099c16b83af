// Fuzzes what a reader makes of a ring that the other process wrote: the bytes are the written position and the ring's data.
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "ipc/byte_ring.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;
  using namespace evenkeel::ipc;
  if (size < sizeof(uint64_t)) return 0;
  uint64_t written = 0;
  std::memcpy(&written, data, sizeof written);
  std::vector<std::byte> ring(1024);
  std::memcpy(ring.data(), data + sizeof written, std::min(size - sizeof written, ring.size()));
  RingControl control{};
  control.written = written;
  RingReader reader(&control, ring);
  uint64_t total = 0;
  for (;;) {
    uint32_t type = 0;
    std::string payload;
    const auto got = reader.Read(&type, &payload);
    if (!got.ok() || !*got) break;
    EK_CHECK(type != 0);
    total += FrameBytes(payload.size());
    EK_CHECK(total <= ring.size() && control.read.load() == total);
  }
  return 0;
}
