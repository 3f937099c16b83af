// Errors as clients of the OpenAI API expect them: {"error":{"message","type","param","code"}}.
//
// Contract: all four keys are always there; param and code are a string or null. What is known and not supported is a 400, as there, not the
//   501 of the table in core/status. 429 and 503 carry Retry-After.
// Thread-safety: thread-safe.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "core/status.h"
#include "net/http_message.h"

namespace evenkeel {

struct ApiError {
  Status status;
  std::string param;  // the field at fault, "messages[2].content"; empty: null
  std::string code;   // for programs; empty: by the status, or null
  bool ok() const { return status.ok(); }
};

// The field `param` is malformed, out of range or missing: "'temperature': expected ...".
template <typename... Args>
ApiError BadField(std::string param, fmt::format_string<Args...> format, Args&&... args) {
  std::string text =
      fmt::format("'{}': {}", param, fmt::format(format, std::forward<Args>(args)...));
  return {{Code::kInvalidArgument, std::move(text)}, std::move(param), ""};
}

// The field `param` is well known, but nothing here acts on it.
template <typename... Args>
ApiError UnsupportedField(std::string param, fmt::format_string<Args...> format, Args&&... args) {
  ApiError error = BadField(std::move(param), format, std::forward<Args>(args)...);
  error.code = "unsupported_parameter";
  return error;
}

// What a language model answered. kTooLarge is a prompt that its context does not hold, which is the request's fault (400).
ApiError ModelError(const Status& status);

int HttpStatusOf(const ApiError& error);
// {"error":{...}}
std::string ApiErrorJson(const ApiError& error);
HttpResponse ApiErrorResponse(const ApiError& error);
// The same for what never became a request, or has no Code.
HttpResponse ApiErrorResponse(int http_status, std::string_view message);

#define EK_RETURN_IF_API_ERROR(expr)         \
  do {                                       \
    ::evenkeel::ApiError ek_error_ = (expr); \
    if (!ek_error_.ok()) return ek_error_;   \
  } while (false)

}  // namespace evenkeel
