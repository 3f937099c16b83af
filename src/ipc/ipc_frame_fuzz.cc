// Fuzzes what one process reads of the other's memory: the bytes are a SlotHeader and, behind it, the arena.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "core/check.h"
#include "ipc/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;
  using namespace evenkeel::ipc;
  // Layout of an input: count of descriptors (1 byte), that many descriptors, arena. Missing bytes are zero.
  if (size == 0) return 0;
  auto header = std::make_unique<SlotHeader>();
  header->output_count = data[0];
  const size_t want = std::min<size_t>(data[0], kMaxTensors) * sizeof(TensorDesc);
  const size_t have = std::min(size - 1, want);
  std::memcpy(static_cast<void*>(header->outputs), data + 1, have);
  const std::vector<std::byte> arena(reinterpret_cast<const std::byte*>(data + 1 + have),
                                     reinterpret_cast<const std::byte*>(data + size));
  std::vector<TensorView> views;
  const Status status = ReadDescs(header->outputs, header->output_count, arena, &views);
  EK_CHECK(status.ok() || views.empty());
  uint64_t sum = 0;
  for (const TensorView& view : views) {
    EK_CHECK(view.data.empty() ||
             (view.data.data() >= arena.data() &&
              view.data.data() + view.data.size() <= arena.data() + arena.size()));
    for (std::byte b : view.data) sum += static_cast<uint64_t>(b);
    if (view.dtype != DataType::kBytes) {
      EK_CHECK(DenseBytes(view.dtype, view.shape).value() == view.data.size());
    }
    TensorDesc again;
    WriteDesc(view, 0, &again);
    EK_CHECK(again.bytes == view.data.size());
  }
  static_cast<void>(sum);
  return 0;
}
