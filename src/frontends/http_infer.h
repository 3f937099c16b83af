// POST /v2/models/{model}[/versions/{version}]/infer.
//
// Contract: answers `exchange` exactly once, now or when the model has. A client that leaves
//   cancels the call.
// Thread-safety: thread-safe.
#pragma once

#include <string_view>

#include "frontends/guarded_service.h"
#include "net/http_message.h"

namespace evenkeel {

void HandleInfer(const GuardedService& service, std::string_view model, std::string_view version,
                 HttpExchange& exchange);

}  // namespace evenkeel
