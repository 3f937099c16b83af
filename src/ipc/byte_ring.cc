#include "ipc/byte_ring.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/format.h"

namespace evenkeel::ipc {

void RingWriter::Copy(uint64_t at, const void* from, size_t size) {
  if (size == 0) return;
  const size_t begin = at & (data_.size() - 1);
  const size_t first = std::min(size, data_.size() - begin);
  std::memcpy(data_.data() + begin, from, first);
  std::memcpy(data_.data(), static_cast<const std::byte*>(from) + first, size - first);
}

Status RingWriter::Write(uint32_t type, std::string_view payload, size_t leave) {
  EK_CHECK(type != 0 && leave < data_.size());
  const size_t most = data_.size() - leave;
  const size_t bytes = FrameBytes(payload.size());
  if (payload.size() > most || bytes > most) {
    return TooLarge("a message of {} bytes, the channel holds {}", payload.size(), most);
  }
  const uint64_t used = written_ - control_->read.load(std::memory_order_acquire);
  if (used > data_.size()) return Internal("the channel's reader has lost its place");
  if (bytes + leave > data_.size() - used) return Overloaded("the channel is full");
  const FrameHeader header{static_cast<uint32_t>(payload.size()), type};
  Copy(written_, &header, sizeof header);
  Copy(written_ + sizeof header, payload.data(), payload.size());
  written_ += bytes;
  control_->written.store(written_, std::memory_order_release);
  return Status::Ok();
}

void RingReader::Copy(uint64_t at, void* to, size_t size) const {
  if (size == 0) return;
  const size_t begin = at & (data_.size() - 1);
  const size_t first = std::min(size, data_.size() - begin);
  std::memcpy(to, data_.data() + begin, first);
  std::memcpy(static_cast<std::byte*>(to) + first, data_.data(), size - first);
}

Result<bool> RingReader::Read(uint32_t* type, std::string* payload) {
  const uint64_t there = control_->written.load(std::memory_order_acquire) - read_;
  if (there == 0) return false;
  if (there > data_.size() || there % 8 != 0 || there < sizeof(FrameHeader)) {
    return Internal("the channel's writer has lost its place");
  }
  FrameHeader header;
  Copy(read_, &header, sizeof header);
  // The other process may still write: what was checked is what is used.
  asm volatile("" : "+m"(header) : : "memory");
  const size_t bytes = FrameBytes(header.size);
  if (header.type == 0 || bytes > there) {
    return Internal("the channel holds a frame of {} bytes and type {}, and {} bytes are there",
                    header.size, header.type, there);
  }
  *type = header.type;
  payload->resize(header.size);
  Copy(read_ + sizeof header, payload->data(), header.size);
  read_ += bytes;
  control_->read.store(read_, std::memory_order_release);
  return true;
}

}  // namespace evenkeel::ipc
