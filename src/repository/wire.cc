#include "repository/wire.h"

#include "core/format.h"

namespace evenkeel {

bool FileWireReader::Fail(const char* what) {
  status_ = InvalidArgument("corrupt or truncated: {} at byte {}", what, at_);
  return false;
}

bool FileWireReader::Varint(uint64_t* value) {
  uint64_t out = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const int byte = at_ < end_ ? source_.ByteAt(at_) : -1;
    if (byte < 0) return Fail("a number is cut off");
    ++at_;
    if (shift == 63 && byte > 1) return Fail("a number is too long");
    out |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = out;
      return true;
    }
  }
  return Fail("a number is too long");
}

bool FileWireReader::NextVarint(uint64_t* value) {
  return status_.ok() && at_ < end_ && Varint(value);
}

bool FileWireReader::Next(FileWireField* field) {
  uint64_t tag = 0;
  if (!status_.ok() || at_ >= end_ || !Varint(&tag)) return false;
  if (tag >> 32 != 0 || tag >> 3 == 0) return Fail("no field has this number");
  field->number = static_cast<uint32_t>(tag >> 3);
  const auto type = static_cast<uint32_t>(tag & 7);
  field->type = static_cast<FileWireField::Type>(type);
  uint64_t length = 0;
  switch (type) {
    case 0: return Varint(&field->value);
    case 1: length = 8; break;
    case 2:
      if (!Varint(&length)) return false;
      break;
    case 5: length = 4; break;
    default: return Fail("no field has this type");
  }
  if (length > end_ - at_) return Fail("a field reaches past the end");
  field->bytes = {at_, at_ + length};
  at_ += length;
  return true;
}

}  // namespace evenkeel
