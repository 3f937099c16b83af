#include "frontends/http_reply.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/format.h"

namespace evenkeel {
namespace {

std::string_view NameOf(HttpMethod method) {
  switch (method) {
    case HttpMethod::kGet: return "GET, HEAD";
    case HttpMethod::kPost: return "POST";
    case HttpMethod::kDelete: return "DELETE";
    default: return "OPTIONS";
  }
}

}  // namespace

void ReplyJson(HttpExchange& exchange, const nlohmann::json& document, int http_status) {
  HttpResponse response;
  response.status = http_status;
  // Bytes that are not UTF-8 (a label from a model file) must not throw.
  response.body = document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  exchange.Respond(std::move(response));
}

void ReplyText(HttpExchange& exchange, std::string text, std::string_view content_type,
               int http_status) {
  HttpResponse response;
  response.status = http_status;
  response.content_type = content_type;
  response.body = std::move(text);
  exchange.Respond(std::move(response));
}

HttpResponse ErrorResponse(const Status& error) {
  return JsonError(InfoOf(error.code()).http, error.message());
}

void ReplyError(HttpExchange& exchange, const Status& error) {
  exchange.Respond(ErrorResponse(error));
}

bool RequireMethod(HttpExchange& exchange, std::initializer_list<HttpMethod> allowed) {
  const HttpMethod given =
      exchange.head().method == HttpMethod::kHead ? HttpMethod::kGet : exchange.head().method;
  std::string names;
  for (const HttpMethod method : allowed) {
    if (method == given) return true;
    names.append(names.empty() ? "" : ", ").append(NameOf(method));
  }
  HttpResponse response = JsonError(
      405, fmt::format("{} is not allowed here, expected {}", exchange.head().method_name, names));
  response.headers = "Allow: " + names + "\r\n";
  exchange.Respond(std::move(response));
  return false;
}

std::string HeaderSafe(std::string_view text) {
  std::string out(text);
  std::ranges::replace_if(
      out, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return out;
}

}  // namespace evenkeel
