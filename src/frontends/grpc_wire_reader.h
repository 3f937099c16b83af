// A cursor over protobuf's wire format in a message of several slices. Part of grpc_wire.
//
// Contract: every read returns false, and leaves the cursor unusable, when the bytes end early or
// are malformed; none reads past the
//   current message's end. Lengths are checked against what is left before anything is allocated.
// Thread-safety: thread-compatible.
#pragma once

#include "core/parse.h"
#include "frontends/grpc_wire.h"

namespace evenkeel {

enum WireType : uint32_t {
  kWireVarint = 0,
  kWireFixed64 = 1,
  kWireBytes = 2,
  kWireGroup = 3,
  kWireEndGroup = 4,
  kWireFixed32 = 5
};

constexpr uint32_t WireTag(uint32_t field, WireType type) { return (field << 3) | type; }

class WireReader {
 public:
  explicit WireReader(std::span<const ByteSpan> slices);
  WireReader(std::span<const ByteSpan> slices, const WireMark& mark);

  // Bytes left of the current message.
  size_t left() const { return left_; }

  bool Varint(uint64_t* value);
  bool Fixed64(uint64_t* value);
  // A tag with a field number of at least 1.
  bool Tag(uint32_t* tag);
  // The length of a field that follows; at most left().
  bool Length(size_t* size);
  // REQUIRES: size <= left(). A view of the slice, or a copy in the arena where the bytes cross
  // slices.
  ByteSpan Take(size_t size, CallArena& arena);
  // REQUIRES: size <= left().
  void CopyTo(std::byte* to, size_t size);
  bool Skip(size_t size);
  // Length and bytes; Text() demands UTF-8.
  bool Bytes(CallArena& arena, ByteSpan* value);
  bool Text(CallArena& arena, std::string_view* value);
  // Length, then the place of the message that is skipped.
  bool Mark(WireMark* mark);
  // Skips the value of `tag`, whatever it is.
  bool SkipValue(uint32_t tag);

  // Reads a length and makes left() the inner message's; Leave() with what Enter() gave goes back
  // out.
  bool Enter(size_t* outer);
  bool Leave(size_t outer);

 private:
  bool VarintSlow(uint64_t* value);
  bool SkipGroup(uint32_t field);
  // Moves to the next slice that has bytes. REQUIRES: left_ > 0.
  void NextSlice();
  size_t InSlice() const { return static_cast<size_t>(end_ - at_); }
  void Advance(size_t size) {
    at_ += size;
    left_ -= size;
  }

  std::span<const ByteSpan> slices_;
  size_t slice_ = 0;  // index of the slice that [at_, end_) lies in
  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
  size_t left_ = 0;
};

}  // namespace evenkeel
