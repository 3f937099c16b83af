// An HTTP/1.1 call whose answer is handed on as it comes.
//
// Use for: the command line's streams. Not for: answers that are wanted whole (CallHttp).
// Contract: as CallHttp, but `timeout` bounds the silence between two pieces instead of the whole call. The body of an answer of 2xx goes to
//   `piece`, all others come back in HttpAnswer::body. `stopped` is asked at least twenty times a second; once it says true, the connection
//   is closed and the call ends with kCancelled. An answer that breaks off is kUnavailable; its pieces have been handed on.
// Thread-safety: thread-safe; both functions run on the caller's thread.
#pragma once

#include <functional>
#include <string_view>

#include "net/http_client.h"

namespace evenkeel {

struct HttpSink {
  std::function<void(std::string_view)> piece;
  std::function<bool()> stopped;  // may be empty: never
};

Result<HttpAnswer> StreamHttp(const HttpCall& call, const HttpSink& sink);

}  // namespace evenkeel
