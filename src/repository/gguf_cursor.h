// Reads little-endian numbers and strings of a file one after another, never past the end.
//
// Contract: each method moves on only when all of what it reads is there; else it returns false and says so in status().
// Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <string>

#include "core/format.h"
#include "core/status.h"
#include "repository/byte_source.h"

namespace evenkeel {

class GgufCursor {
 public:
  // Bytes from `limit` on do not count as there.
  GgufCursor(ByteSource& source, uint64_t at, uint64_t limit)
      : source_(source), at_(at), limit_(limit) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return limit_ - at_; }
  const Status& status() const { return status_; }

  bool Skip(uint64_t bytes) {
    if (!Has(bytes)) return false;
    at_ += bytes;
    return true;
  }
  bool U32(uint32_t* value) {
    uint64_t wide = 0;
    if (!Number(4, &wide)) return false;
    *value = static_cast<uint32_t>(wide);
    return true;
  }
  bool U64(uint64_t* value) { return Number(8, value); }
  // REQUIRES: 1 <= bytes <= 8.
  bool Number(int bytes, uint64_t* value) {
    if (!Has(static_cast<uint64_t>(bytes))) return false;
    uint64_t number = 0;
    for (int i = 0; i < bytes; ++i) {
      const int byte = source_.ByteAt(at_ + static_cast<uint64_t>(i));
      if (byte < 0) return CutOff(static_cast<uint64_t>(bytes));  // the file shrank meanwhile
      number |= static_cast<uint64_t>(byte) << (8 * i);
    }
    at_ += static_cast<uint64_t>(bytes);
    *value = number;
    return true;
  }
  // A string's length, and the place of its first byte; moves behind it.
  bool String(uint64_t* begin, uint64_t* bytes) {
    uint64_t length = 0;
    if (!U64(&length) || !Has(length)) return false;
    *begin = at_;
    *bytes = length;
    at_ += length;
    return true;
  }

 private:
  bool Has(uint64_t bytes) { return bytes <= left() || CutOff(bytes); }
  bool CutOff(uint64_t bytes) {
    status_ = InvalidArgument("corrupt or cut off: needs {} bytes from byte {} on, there are {}",
                              bytes, at_, left());
    return false;
  }

  ByteSource& source_;
  uint64_t at_;
  const uint64_t limit_;
  Status status_;
};

}  // namespace evenkeel
