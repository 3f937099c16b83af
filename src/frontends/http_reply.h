// The answers that HTTP front ends give: documents, errors, wrong methods.
// Thread-safety: thread-safe; each call gives the exchange its one answer.
#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "core/status.h"
#include "net/http_message.h"

namespace evenkeel {

void ReplyJson(HttpExchange& exchange, const nlohmann::json& document, int http_status = 200);
void ReplyText(HttpExchange& exchange, std::string text, std::string_view content_type,
               int http_status = 200);
void ReplyError(HttpExchange& exchange, const Status& error);
// {"error":...} for `error`, as ReplyError sends it.
HttpResponse ErrorResponse(const Status& error);

// True if the method is one of `allowed` (HEAD counts as GET); else answers 405 with Allow and
// returns false.
bool RequireMethod(HttpExchange& exchange, std::initializer_list<HttpMethod> allowed);

// `text` fit for a header's value: control characters and bytes outside ASCII become '?'.
std::string HeaderSafe(std::string_view text);

}  // namespace evenkeel
