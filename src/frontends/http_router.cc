#include "frontends/http_router.h"

#include <nlohmann/json.hpp>

#include "core/format.h"
#include "frontends/http_reply.h"
#include "frontends/openai_error.h"

namespace evenkeel {

void HttpRouter::Handle(HttpExchange& exchange) {
  HttpPath path;
  const Status status = path.Parse(exchange.head().path);
  if (!status.ok()) {
    ReplyError(exchange, status);
    return;
  }
  const bool served = pages_ == HttpPages::kAll || (path[0] != "v2" && path[0] != "v1");
  if (served && path.size() == 0) {
    if (RequireMethod(exchange, {HttpMethod::kGet})) {
      ReplyJson(exchange, {{"name", kServerName}, {"version", ServerVersion()}});
    }
    return;
  }
  if (served && (kserve_.Handle(path, exchange) || openai_.Handle(path, exchange) ||
                 admin_.Handle(path, exchange)))
    return;
  ReplyError(exchange, NotFound("no such path: {}", exchange.head().path));
}

HttpResponse HttpRouter::Refusal(std::string_view path, int http_status, std::string_view message) {
  return path.starts_with("/v1/") ? ApiErrorResponse(http_status, message)
                                  : JsonError(http_status, message);
}

}  // namespace evenkeel
