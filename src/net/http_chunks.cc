#include "net/http_chunks.h"

#include <algorithm>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr size_t kMaxExtension = 256;
constexpr size_t kMaxTrailers = 8192;

}  // namespace

size_t ChunkedBody::Feed(std::string_view in, std::string* body, HttpError* error) {
  size_t at = 0;
  while (at < in.size() && state_ != State::kDone) {
    if (state_ != State::kData) {
      if (!Step(in[at], error)) return at;
      ++at;
      continue;
    }
    const size_t n = static_cast<size_t>(std::min<uint64_t>(left_, in.size() - at));
    if (body->size() + n > max_bytes_) {
      *error = {413, fmt::format("the body is larger than {} bytes", max_bytes_)};
      return at;
    }
    body->append(in.substr(at, n));
    at += n;
    left_ -= n;
    if (left_ == 0) state_ = State::kDataCr;
  }
  return at;
}

// One byte of framing. False: refused.
bool ChunkedBody::Step(char c, HttpError* error) {
  const auto expect = [&](char wanted, State next) {
    if (c != wanted) {
      *error = {400, "malformed chunk: expected a line end"};
      return false;
    }
    state_ = next;
    return true;
  };
  switch (state_) {
    case State::kSize: return SizeDigit(c, error);
    case State::kSizeSpace:
      if ((c == ' ' || c == '\t') && ++line_ <= kMaxExtension) return true;
      if (c == ';') {
        state_ = State::kExtension;
        return true;
      }
      return expect('\r', State::kSizeLf);
    case State::kExtension:
      if (c == '\r') {
        state_ = State::kSizeLf;
      } else if (c == '\n' || ++line_ > kMaxExtension) {
        *error = {400, "malformed chunk: bad extension"};
        return false;
      }
      return true;
    case State::kSizeLf:
      line_ = 0;
      line_empty_ = true;
      return expect('\n', left_ > 0 ? State::kData : State::kTrailer);
    case State::kDataCr: digits_ = 0; return expect('\r', State::kDataLf);
    case State::kDataLf: return expect('\n', State::kSize);
    case State::kTrailer:
      if (++line_ > kMaxTrailers) {
        *error = {431, "the trailers are too large"};
        return false;
      }
      if (c == '\n') return expect('\r', State::kTrailerLf);
      if (c == '\r') {
        state_ = State::kTrailerLf;
      } else {
        line_empty_ = false;
      }
      return true;
    case State::kTrailerLf:
      return expect('\n', std::exchange(line_empty_, true) ? State::kDone : State::kTrailer);
    case State::kData:
    case State::kDone: break;
  }
  return true;
}

bool ChunkedBody::SizeDigit(char c, HttpError* error) {
  int digit = -1;
  if (c >= '0' && c <= '9') digit = c - '0';
  if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
  if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
  if (digit >= 0 && digits_ < 15) {
    left_ = (digits_ == 0 ? 0 : left_ * 16) + static_cast<uint64_t>(digit);
    ++digits_;
    return true;
  }
  if (digits_ > 0 && c == '\r') {
    state_ = State::kSizeLf;
    return true;
  }
  if (digits_ > 0 && (c == ';' || c == ' ' || c == '\t')) {
    line_ = 0;
    state_ = c == ';' ? State::kExtension : State::kSizeSpace;
    return true;
  }
  *error = {400, "malformed chunk: expected its size in hexadecimal"};
  return false;
}

}  // namespace evenkeel
