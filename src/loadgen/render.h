// Turns the tensors of a request into the bytes that go out.
//
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "loadgen/inputs.h"
#include "loadgen/socket.h"

namespace evenkeel::loadgen {

struct RenderOptions {
  std::string version;  // "": the newest
  bool json = false;    // HTTP: JSON data instead of binary
  Duration deadline =
      Duration::max();  // the server's; sent as header and as the `timeout` parameter. max(): none
  std::vector<std::pair<std::string, std::string>> headers;  // HTTP: added as they are
};

// A whole POST /v2/models/MODEL/infer, head and body. Answers are asked for in the same form as the request.
// Error kUnsupported: FP16 and BF16 have no JSON form.
Result<std::string> RenderHttp(const Url& url, const std::string& model, const InputSet& inputs,
                               const RenderOptions& options);

// A whole request with a ready-made body: POST, or GET when `body` is empty.
std::string RenderRaw(const Url& url, std::string_view body, const RenderOptions& options);

// A serialised inference.ModelInferRequest with raw contents.
std::string RenderGrpc(const std::string& model, const InputSet& inputs,
                       const RenderOptions& options);

}  // namespace evenkeel::loadgen
