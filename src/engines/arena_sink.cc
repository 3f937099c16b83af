#include "engines/arena_sink.h"

#include "core/check.h"
#include "core/format.h"
#include "ipc/frame.h"

namespace evenkeel {

ArenaSink::ArenaSink(std::span<std::byte> arena, size_t output_count)
    : arena_(arena), outputs_(output_count) {
  EK_CHECK(reinterpret_cast<uintptr_t>(arena.data()) % ipc::kAlign == 0);
}

std::byte* ArenaSink::Allocate(int index, DataType dtype, const Shape& shape, size_t bytes) {
  EK_CHECK(index >= 0 && static_cast<size_t>(index) < outputs_.size());
  if (index == last_index_) used_ = last_start_;
  const size_t start = (used_ + ipc::kAlign - 1) / ipc::kAlign * ipc::kAlign;
  if (start > arena_.size() || bytes > arena_.size() - start) {
    overflowed_ = true;
    return nullptr;
  }
  last_index_ = index;
  last_start_ = start;
  used_ = start + bytes;
  Placed& placed = outputs_[static_cast<size_t>(index)];
  placed.present = true;
  placed.view = {static_cast<uint32_t>(index), dtype, shape, arena_.subspan(start, bytes)};
  return arena_.data() + start;
}

Status ArenaSink::Collect(std::vector<TensorView>* views) const {
  views->clear();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (!outputs_[i].present) return Internal("the engine gave no output {}", i);
    views->push_back(outputs_[i].view);
  }
  return Status::Ok();
}

}  // namespace evenkeel
