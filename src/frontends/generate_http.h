// POST /v2/models/{model}[/versions/{version}]/generate and /generate_stream: text in, text out, over the Open Inference Protocol.
//
// {"text_input":..., "parameters":{max_tokens, temperature, stop, ...}, "id":...} gives {"text_output":..., "model_name", "model_version",
// "details":{"finish_reason"}}; the stream gives the same as server-sent events, a piece of the text each. Errors are {"error":"..."}.
// Contract: answers `exchange` exactly once. A client that leaves cancels.
// Thread-safety: thread-safe.
#pragma once

#include <string_view>

#include "frontends/guarded_service.h"
#include "net/http_message.h"

namespace evenkeel {

void HandleGenerate(const GuardedService& service, std::string_view model, std::string_view version,
                    bool stream, HttpExchange& exchange);

}  // namespace evenkeel
