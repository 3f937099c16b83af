#include "frontends/grpc_wire_reader.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace evenkeel {
namespace {

constexpr size_t kMaxGroupDepth = 32;

}  // namespace

WireReader::WireReader(std::span<const ByteSpan> slices) : slices_(slices) {
  for (const ByteSpan& slice : slices) left_ += slice.size();
  if (!slices.empty()) {
    at_ = slices[0].data();
    end_ = at_ + slices[0].size();
  }
}

WireReader::WireReader(std::span<const ByteSpan> slices, const WireMark& mark)
    : slices_(slices), slice_(mark.slice), at_(mark.at), left_(mark.size) {
  if (mark.slice < slices.size()) end_ = slices[mark.slice].data() + slices[mark.slice].size();
}

void WireReader::NextSlice() {
  while (at_ == end_) {
    ++slice_;
    at_ = slices_[slice_].data();
    end_ = at_ + slices_[slice_].size();
  }
}

bool WireReader::Fixed64(uint64_t* value) {
  if (left_ < sizeof *value) return false;
  CopyTo(reinterpret_cast<std::byte*>(value), sizeof *value);  // little-endian, as our hosts are
  return true;
}

bool WireReader::Varint(uint64_t* value) {
  if (left_ > 0 && at_ != end_ && static_cast<uint8_t>(*at_) < 0x80) {
    *value = static_cast<uint8_t>(*at_);
    Advance(1);
    return true;
  }
  return VarintSlow(value);
}

bool WireReader::VarintSlow(uint64_t* value) {
  uint64_t result = 0;
  for (uint32_t shift = 0; shift < 70; shift += 7) {
    if (left_ == 0) return false;
    NextSlice();
    const auto byte = static_cast<uint8_t>(*at_);
    Advance(1);
    result |= static_cast<uint64_t>(byte & 0x7f)
              << shift;  // bits past the 64th fall away, as in protobuf
    if (byte < 0x80) {
      *value = result;
      return true;
    }
  }
  return false;
}

bool WireReader::Tag(uint32_t* tag) {
  const size_t before = left_;
  uint64_t value = 0;
  if (!Varint(&value) || before - left_ > 5) return false;
  *tag = static_cast<uint32_t>(value);
  return (*tag >> 3) != 0;
}

bool WireReader::Length(size_t* size) {
  const size_t before = left_;
  uint64_t value = 0;
  if (!Varint(&value) || before - left_ > 5 || value > left_) return false;
  *size = static_cast<size_t>(value);
  return true;
}

void WireReader::CopyTo(std::byte* to, size_t size) {
  while (size > 0) {
    NextSlice();
    const size_t part = std::min(size, InSlice());
    std::memcpy(to, at_, part);
    Advance(part);
    to += part;
    size -= part;
  }
}

ByteSpan WireReader::Take(size_t size, CallArena& arena) {
  if (size == 0) return {};
  NextSlice();
  if (InSlice() >= size) {
    const ByteSpan view(at_, size);
    Advance(size);
    return view;
  }
  const std::span<std::byte> copy = arena.Allocate(size);
  CopyTo(copy.data(), size);
  return copy;
}

bool WireReader::Skip(size_t size) {
  if (size > left_) return false;
  while (size > 0) {
    NextSlice();
    const size_t part = std::min(size, InSlice());
    Advance(part);
    size -= part;
  }
  return true;
}

bool WireReader::Bytes(CallArena& arena, ByteSpan* value) {
  size_t size = 0;
  if (!Length(&size)) return false;
  *value = Take(size, arena);
  return true;
}

bool WireReader::Text(CallArena& arena, std::string_view* value) {
  ByteSpan bytes;
  if (!Bytes(arena, &bytes)) return false;
  *value = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  return IsUtf8(*value);
}

bool WireReader::Mark(WireMark* mark) {
  size_t size = 0;
  if (!Length(&size)) return false;
  if (size > 0) NextSlice();
  *mark = {slice_, at_, size};
  return Skip(size);
}

bool WireReader::SkipGroup(uint32_t field) {
  std::array<uint32_t, kMaxGroupDepth> open;
  size_t depth = 0;
  open[depth++] = field;
  while (depth > 0) {
    uint32_t tag = 0;
    if (!Tag(&tag)) return false;
    const uint32_t type = tag & 7;
    if (type == kWireGroup) {
      if (depth == kMaxGroupDepth) return false;
      open[depth++] = tag >> 3;
    } else if (type == kWireEndGroup) {
      if (open[--depth] != tag >> 3) return false;
    } else if (!SkipValue(tag)) {
      return false;
    }
  }
  return true;
}

bool WireReader::SkipValue(uint32_t tag) {
  uint64_t ignored = 0;
  size_t size = 0;
  switch (tag & 7) {
    case kWireVarint: return Varint(&ignored);
    case kWireFixed64: return Skip(8);
    case kWireBytes: return Length(&size) && Skip(size);
    case kWireGroup: return SkipGroup(tag >> 3);
    case kWireFixed32: return Skip(4);
    default: return false;  // an end of a group that was never opened, and the two unassigned types
  }
}

bool WireReader::Enter(size_t* outer) {
  size_t size = 0;
  if (!Length(&size)) return false;
  *outer = left_ - size;
  left_ = size;
  return true;
}

bool WireReader::Leave(size_t outer) {
  if (left_ != 0) return false;
  left_ = outer;
  return true;
}

}  // namespace evenkeel
