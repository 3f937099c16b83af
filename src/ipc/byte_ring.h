// A queue of typed frames from one process to one other, in memory that both map.
//
// Contract: whole frames or nothing. Each side keeps its own position and only ever reads the other's, once a call, checked: a position
//   that lies ends in kInternal, never in a read or write outside the ring. A frame is copied out before anything of it is looked at.
// Layout: RingControl (positions that only grow), then `capacity` bytes of data. A frame is FrameHeader, payload, padding to 8 bytes.
// Units: bytes. Thread-safety: one writer thread and one reader thread, each single-owner.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel::ipc {

struct RingControl {
  alignas(64) std::atomic<uint64_t> written;  // by the writer: bytes since the start
  alignas(64) std::atomic<uint64_t> read;     // by the reader
};

struct FrameHeader {
  uint32_t size;  // of the payload
  uint32_t type;  // not 0
};

// What a frame of `payload` bytes takes of a ring.
constexpr size_t FrameBytes(size_t payload) { return (sizeof(FrameHeader) + payload + 7) / 8 * 8; }

class RingWriter {
 public:
  // `data.size()`: a power of two, at least 64.
  RingWriter(RingControl* control, std::span<std::byte> data) : control_(control), data_(data) {}

  // `leave`: bytes that have to be free yet behind the frame. Errors: kOverloaded (no room now), kTooLarge (never will be), kInternal (the
  // reader's position lies).
  Status Write(uint32_t type, std::string_view payload, size_t leave = 0);
  size_t size() const { return data_.size(); }

 private:
  void Copy(uint64_t at, const void* from, size_t size);

  RingControl* control_;
  std::span<std::byte> data_;
  uint64_t written_ = 0;
};

class RingReader {
 public:
  RingReader(RingControl* control, std::span<const std::byte> data)
      : control_(control), data_(data) {}

  // False: nothing there. Error kInternal: the writer broke the rules; nothing more can be read.
  Result<bool> Read(uint32_t* type, std::string* payload);

 private:
  void Copy(uint64_t at, void* to, size_t size) const;

  RingControl* control_;
  std::span<const std::byte> data_;
  uint64_t read_ = 0;
};

}  // namespace evenkeel::ipc
