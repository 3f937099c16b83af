#include "frontends/openai_error.h"

namespace evenkeel {
namespace {

struct Kind {
  std::string_view type, code;  // code "": null
};

Kind KindOf(int http_status) {
  switch (http_status) {
    case 401: return {"authentication_error", "invalid_api_key"};
    case 403: return {"permission_error", "forbidden"};
    case 404: return {"invalid_request_error", "not_found"};
    case 405: return {"invalid_request_error", "method_not_allowed"};
    case 408: return {"invalid_request_error", "request_timeout"};
    case 409: return {"invalid_request_error", "conflict"};
    case 413: return {"invalid_request_error", "request_too_large"};
    case 415: return {"invalid_request_error", "unsupported_content_type"};
    case 429: return {"rate_limit_error", "rate_limit_exceeded"};
    case 499: return {"invalid_request_error", "cancelled"};
    case 503: return {"server_error", "service_unavailable"};
    case 504: return {"server_error", "deadline_exceeded"};
    default: break;
  }
  return http_status < 500 ? Kind{"invalid_request_error", ""}
                           : Kind{"server_error", "internal_error"};
}

void AppendOrNull(std::string_view text, std::string* out) {
  text.empty() ? void(out->append("null")) : AppendJsonString(text, out);
}

std::string Body(int http_status, std::string_view message, std::string_view param,
                 std::string_view code) {
  const Kind kind = KindOf(http_status);
  std::string out = "{\"error\":{\"message\":";
  AppendJsonString(message, &out);
  out.append(",\"type\":");
  AppendJsonString(kind.type, &out);
  out.append(",\"param\":");
  AppendOrNull(param, &out);
  out.append(",\"code\":");
  AppendOrNull(code.empty() ? kind.code : code, &out);
  return out.append("}}");
}

HttpResponse Response(int http_status, std::string body) {
  HttpResponse response;
  response.status = http_status;
  response.body = std::move(body);
  if (http_status == 429 || http_status == 503) response.headers = "Retry-After: 1\r\n";
  if (http_status == 401) response.headers = kBearerChallenge;
  return response;
}

}  // namespace

ApiError ModelError(const Status& status) {
  if (status.code() != Code::kTooLarge) return {status, "", ""};
  return {{Code::kInvalidArgument, status.message()}, "", "context_length_exceeded"};
}

int HttpStatusOf(const ApiError& error) {
  return error.status.code() == Code::kUnsupported ? 400 : InfoOf(error.status.code()).http;
}

std::string ApiErrorJson(const ApiError& error) {
  return Body(HttpStatusOf(error), error.status.message(), error.param, error.code);
}

HttpResponse ApiErrorResponse(const ApiError& error) {
  return Response(HttpStatusOf(error), ApiErrorJson(error));
}

HttpResponse ApiErrorResponse(int http_status, std::string_view message) {
  return Response(http_status, Body(http_status, message, "", ""));
}

}  // namespace evenkeel
