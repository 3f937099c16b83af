// Reads the head of a request: request line and fields. Framing (length, chunks) is checked here,
// once, for everybody.
//
// Contract: ParseHttpHead() takes one complete head, from the method to the empty line. What it
//   refuses: control characters, bare line feeds, folded fields, two lengths (also the same one), a
//   length beside chunks, transfer codings other than chunked alone, more than `max_fields` fields.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "net/http_message.h"

namespace evenkeel {

// Why a request is refused before it reaches a handler. status 0: it is not.
struct HttpError {
  int status = 0;
  std::string message;
  bool ok() const { return status == 0; }
};

// Length of the head at the start of `text`, including the empty line, or 0 when its end is not
// there yet. `scanned` carries the position between calls that see the same bytes and more; start
// it at 0.
size_t FindHeadEnd(std::string_view text, size_t* scanned);

// A line end without its carriage return, which no head has: one that is ended so never ends.
bool HasBareLineFeed(std::string_view text);
inline constexpr const char* kBareLineFeed =
    "malformed request: a line ends without a carriage return";

// REQUIRES: `head` ends with the empty line. The views in `out` point into `head`.
HttpError ParseHttpHead(std::string_view head, size_t max_fields, HttpHead* out);

}  // namespace evenkeel
