// Bytes of a file, read where they are looked at, so that a check of a file's structure skips gigabytes of weights.
//
// Reads with pread through a small window and not by mmap: a file that shrinks while it is mapped would kill the daemon.
// Contract: bytes past the end, or that could not be read, are -1.
// Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

class ByteSource {
 public:
  // A regular file; links are followed. Errors: kNotFound, kInvalidArgument (no regular file, not readable, empty).
  static Result<ByteSource> OpenFile(const std::string& path);
  // `bytes` must outlive the source.
  static ByteSource OfBytes(std::string_view bytes);

  uint64_t size() const { return size_; }

  int ByteAt(uint64_t offset) {
    if (offset < window_begin_ || offset >= window_end_) {
      if (!Fill(offset)) return -1;
    }
    return static_cast<uint8_t>(window_[offset - window_begin_]);
  }
  // The bytes from `begin` to `end`, at most `limit` of them; fewer when they end early.
  std::string Text(uint64_t begin, uint64_t end, size_t limit);
  // Little-endian; -1 past the end.
  int64_t U16At(uint64_t offset) { return LittleEndian(offset, 2); }
  int64_t U32At(uint64_t offset) { return LittleEndian(offset, 4); }

 private:
  ByteSource() = default;
  bool Fill(uint64_t offset);
  int64_t LittleEndian(uint64_t offset, int bytes);

  std::shared_ptr<const int> fd_;  // closed with the last copy
  std::vector<char> buffer_;
  const char* window_ = nullptr;
  uint64_t window_begin_ = 0;
  uint64_t window_end_ = 0;
  uint64_t size_ = 0;
};

}  // namespace evenkeel
