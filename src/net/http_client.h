// A small blocking HTTP/1.1 client for the command line: answers whole, or handed on as they come.
//
// Use for: one call at a time to a server's API. Not for: load (see loadgen/), forwarding.
// Contract: opens a connection for each call; follows no redirects; whatever status the server
//   answers is a result, not an error.
// Thread-safety: thread-safe; a sink's functions run on the caller's thread.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

struct HttpCall {
  std::string server;  // "http://127.0.0.1:8000", "https://..."; the port may be left out (80, 443)
  std::string
      ca_file;  // https: PEM file of what to trust, nothing else then is; empty: the system's store
  std::string method = "GET";
  std::string target;  // "/v2/models", escaped where needed (see EscapePathPart)
  std::string body;
  std::string content_type = "application/json";  // sent with a body
  std::string bearer;  // the credential of an Authorization field; empty: none. In no message
  Duration timeout =
      std::chrono::seconds(30);  // CallHttp: for the whole call; StreamHttp: for a silence
  size_t max_answer_bytes = size_t{1} << 30;
};

struct HttpAnswer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// Errors: kInvalidArgument (no such URL, no certificates in `ca_file`), kUnauthenticated (https: the
// server's certificate is not trusted, or is another name's), kUnavailable (nobody answers
// there), kDeadlineExceeded, kInternal (what answered speaks no HTTP).
Result<HttpAnswer> CallHttp(const HttpCall& call);

struct HttpSink {
  std::function<void(std::string_view)> piece;
  std::function<bool()> stopped;  // may be empty: never
};

// The body of an answer of 2xx goes to `piece` as it comes, all others come back in HttpAnswer::body. `stopped` is asked at least twenty
// times a second; once it says true, the connection is closed and the call ends with kCancelled. An answer that breaks off is
// kUnavailable; its pieces have been handed on. Other errors: as CallHttp.
Result<HttpAnswer> StreamHttp(const HttpCall& call, const HttpSink& sink);

// Where a URL leads: "http://[::1]:8000" to "::1", "8000", "[::1]:8000". Errors: kInvalidArgument.
struct ServerAddress {
  std::string host, port;
  std::string header;  // as the Host field has it
  bool tls = false;    // https
};
Result<ServerAddress> ParseServerUrl(const std::string& url);

// `part` with everything but letters, digits and "-._~" percent-encoded.
std::string EscapePathPart(std::string_view part);

}  // namespace evenkeel
