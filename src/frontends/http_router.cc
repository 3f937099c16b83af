#include "frontends/http_router.h"

#include <nlohmann/json.hpp>

#include "core/format.h"
#include "frontends/http_reply.h"

namespace evenkeel {

void HttpRouter::Handle(HttpExchange& exchange) {
  HttpPath path;
  const Status status = path.Parse(exchange.head().path);
  if (!status.ok()) {
    ReplyError(exchange, status);
    return;
  }
  const bool served = pages_ == HttpPages::kAll || path[0] != "v2";
  if (served && path.size() == 0) {
    if (RequireMethod(exchange, {HttpMethod::kGet})) {
      ReplyJson(exchange, {{"name", kServerName}, {"version", ServerVersion()}});
    }
    return;
  }
  if (served && (kserve_.Handle(path, exchange) || admin_.Handle(path, exchange))) return;
  ReplyError(exchange, NotFound("no such path: {}", exchange.head().path));
}

}  // namespace evenkeel
