// One blocking HTTP/1.1 request with ready-made bytes, for the answers that later ones are
// compared with.
//
// Errors: kUnavailable (no connection), kDeadlineExceeded, kInternal (the answer is not HTTP). An
//   HTTP error status is a result, not an error.
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"
#include "loadgen/socket.h"

namespace evenkeel::loadgen {

struct HttpAnswer {
  int status = 0;
  std::string body;
  int64_t json_length = -1;  // Inference-Header-Content-Length, -1 when absent
};

// `request` is the whole request as sent. Blocks up to `timeout`.
Result<HttpAnswer> Exchange(const Url& url, std::string_view request, Duration timeout);

}  // namespace evenkeel::loadgen
