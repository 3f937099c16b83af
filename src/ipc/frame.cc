#include "ipc/frame.h"

#include <cstring>
#include <type_traits>

#include "core/check.h"
#include "core/format.h"

namespace evenkeel::ipc {
namespace {

static_assert(std::atomic<uint32_t>::is_always_lock_free, "a lock would live in one process only");
static_assert(std::is_trivially_copyable_v<TensorDesc> && sizeof(TensorDesc) == 88,
              "the other process reads these bytes");

constexpr size_t kPage = 4096;
constexpr size_t RoundToPage(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

constexpr size_t kControlBytes = RoundToPage(sizeof(Control));
constexpr size_t kHeaderBytes = RoundToPage(sizeof(SlotHeader));

// Checks one descriptor that already is in private memory.
Status CheckDesc(const TensorDesc& desc, uint32_t index, std::span<const std::byte> arena,
                 TensorView* out) {
  if (desc.dtype == 0 || desc.dtype >= kDataTypeCount) {
    return Internal("descriptor {}: unknown dtype {}", index, desc.dtype);
  }
  if (desc.rank > kMaxRank) {
    return Internal("descriptor {}: expected rank of at most {}, got {}", index, kMaxRank,
                    desc.rank);
  }
  if (desc.offset > arena.size() || desc.bytes > arena.size() - desc.offset) {
    return Internal("descriptor {}: {} bytes at {} run past the arena's {}", index, desc.bytes,
                    desc.offset, arena.size());
  }
  if (desc.offset % kAlign != 0) {
    return Internal("descriptor {}: offset {} is not a multiple of {}", index, desc.offset, kAlign);
  }
  out->spec = desc.spec;
  out->dtype = static_cast<DataType>(desc.dtype);
  out->shape = Shape(std::span<const int64_t>(desc.dims, desc.rank));
  out->data = arena.subspan(desc.offset, desc.bytes);
  const auto count = out->shape.ElementCount();
  if (!count) {
    return Internal("descriptor {}: shape {} is negative or too large", index,
                    out->shape.ToString());
  }
  size_t expected = 0;
  if (out->dtype == DataType::kBytes) {
    auto size = BytesElementsSize(out->data, *count);
    if (!size.ok()) return Internal("descriptor {}: {}", index, size.status().message());
    expected = *size;
  } else {
    auto size = DenseBytes(out->dtype, out->shape);
    if (!size.ok()) return Internal("descriptor {}: {}", index, size.status().message());
    expected = *size;
  }
  if (expected != desc.bytes) {
    return Internal("descriptor {}: {} {} needs {} bytes, got {}", index, NameOf(out->dtype),
                    out->shape.ToString(), expected, desc.bytes);
  }
  return Status::Ok();
}

}  // namespace

size_t Layout::header_offset(uint32_t slot) const {
  const size_t slot_bytes =
      kHeaderBytes + RoundToPage(input_capacity) + RoundToPage(output_capacity);
  return kControlBytes + slot * slot_bytes;
}

size_t Layout::input_offset(uint32_t slot) const { return header_offset(slot) + kHeaderBytes; }

size_t Layout::output_offset(uint32_t slot) const {
  return input_offset(slot) + RoundToPage(input_capacity);
}

size_t Layout::total() const { return header_offset(kSlots); }

Status ReadDescs(const TensorDesc* descs, uint32_t count, std::span<const std::byte> arena,
                 std::vector<TensorView>* out) {
  out->clear();
  if (count > kMaxTensors) {
    return Internal("expected at most {} tensors, got {}", kMaxTensors, count);
  }
  out->reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    TensorDesc copy;
    std::memcpy(&copy, descs + i, sizeof copy);
    // The other process may still write: the compiler must not fold the copy back into reads of shared memory.
    asm volatile("" : "+m"(copy) : : "memory");
    TensorView view;
    Status status = CheckDesc(copy, i, arena, &view);
    if (!status.ok()) {
      out->clear();
      return status;
    }
    out->push_back(view);
  }
  return Status::Ok();
}

void WriteDesc(const TensorView& view, uint64_t offset, TensorDesc* out) {
  TensorDesc desc{};
  desc.dtype = static_cast<uint8_t>(view.dtype);
  desc.rank = static_cast<uint8_t>(view.shape.rank());
  desc.spec = static_cast<uint16_t>(view.spec);
  for (int i = 0; i < view.shape.rank(); ++i) desc.dims[i] = view.shape[i];
  desc.offset = offset;
  desc.bytes = view.data.size();
  EK_CHECK(view.spec == desc.spec);
  std::memcpy(out, &desc, sizeof desc);
}

}  // namespace evenkeel::ipc
