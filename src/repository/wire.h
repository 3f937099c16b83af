// Protobuf's wire format, one field at a time, over bytes that nobody vouches for.
//
// Contract: never reads outside the range it was given; every length is checked against the range before it is used. After
// Next() has returned false, status() tells the end of the range (ok) from malformed bytes (kInvalidArgument).
// Stricter than protobuf: groups, field number 0 and over-long varints are malformed.
// Thread-safety: thread-compatible.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "repository/byte_source.h"

namespace evenkeel {

struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t size() const { return end - begin; }
};

struct FileWireField {
  enum class Type : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  uint32_t number = 0;
  Type type = Type::kVarint;
  uint64_t value = 0;  // kVarint; the fixed ones are skipped over
  ByteRange bytes;     // kBytes
};

class FileWireReader {
 public:
  // REQUIRES: range.begin <= range.end <= source.size().
  FileWireReader(ByteSource& source, ByteRange range)
      : source_(source), at_(range.begin), end_(range.end) {}

  bool Next(FileWireField* field);
  // One varint of a packed field. REQUIRES: the range is such a field's bytes.
  bool NextVarint(uint64_t* value);
  const Status& status() const { return status_; }

 private:
  bool Varint(uint64_t* value);
  bool Fail(const char* what);

  ByteSource& source_;
  uint64_t at_;
  const uint64_t end_;
  Status status_;
};

}  // namespace evenkeel
