// Takes the chunks of a request body apart, in whatever pieces they arrive.
//
// Contract: Feed() returns how many bytes it used; after done() it uses none. Extensions and
//   trailers are read past, within bounds.
// Thread-safety: single-owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/http_head.h"

namespace evenkeel {

class ChunkedBody {
 public:
  explicit ChunkedBody(size_t max_bytes) : max_bytes_(max_bytes) {}
  // Appends decoded bytes to `body`. `error` is set to 400 for a broken chunk, 413 above max_bytes,
  // 431 for long trailers.
  size_t Feed(std::string_view in, std::string* body, HttpError* error);
  bool done() const { return state_ == State::kDone; }

 private:
  enum class State : uint8_t {
    kSize,
    kSizeSpace,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailer,
    kTrailerLf,
    kDone
  };
  bool Step(char c, HttpError* error);
  bool SizeDigit(char c, HttpError* error);

  const size_t max_bytes_;
  State state_ = State::kSize;
  uint64_t left_ = 0;  // of the chunk being read
  int digits_ = 0;
  size_t line_ = 0;         // bytes of the extension, or of all trailers
  bool line_empty_ = true;  // the trailer line read so far is empty
};

}  // namespace evenkeel
