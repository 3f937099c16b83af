#include "frontends/http_router.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"
#include "frontends/admin_http.h"
#include "frontends/deploy_http.h"
#include "frontends/guarded_service.h"
#include "frontends/http_reply.h"
#include "frontends/openai_error.h"
#include "frontends/openai_http.h"

namespace evenkeel {
namespace {

Authorization AuthorizationOf(const HttpHead& head) {
  Authorization authorization;
  for (const HttpField& field : head.fields) {
    if (EqualsNoCase(field.name, "authorization")) authorization.Add(field.value);
  }
  return authorization;
}

// In the words of the path's protocol.
void Refuse(HttpExchange& exchange, const HttpPath& path, const Status& error) {
  if (path[0] == "v1") {
    exchange.Respond(ApiErrorResponse(ApiError{error, "", ""}));
  } else {
    ReplyError(exchange, error);
  }
}

}  // namespace

bool HttpRouter::Serves(const HttpPath& path) const {
  return pages_ == HttpPages::kAll || (path[0] != "v2" && path[0] != "v1");
}

void HttpRouter::LookAt(const HttpHead& head, Look* look) const {
  look->access = authorizer_.required() ? authorizer_.Identify(AuthorizationOf(head))
                                        : CallerAccess::Everything();
  look->parsed = look->path.Parse(head.path);
  std::optional<MatchedRoute> found;
  if (look->parsed.ok() && Serves(look->path)) found = MatchHttpRoute(look->path, head.query);
  if (found) look->route = found->route;
  look->allowed =
      found ? CheckNeed(found->route->need, look->access, found->model) : look->access.CheckKey();
}

void HttpRouter::Handle(HttpExchange& exchange) {
  Look look;
  LookAt(exchange.head(), &look);
  const HttpPath& path = look.path;
  if (!look.allowed.ok()) return Refuse(exchange, path, look.allowed);
  if (!look.parsed.ok()) return ReplyError(exchange, look.parsed);
  GuardedService service(service_, std::move(look.access));
  if (path.size() == 0) {
    if (RequireMethod(exchange, {HttpMethod::kGet})) {
      ReplyJson(exchange, {{"name", kServerName}, {"version", ServerVersion()}});
    }
    return;
  }
  if (look.route != nullptr &&
      (KServeHttp(service, log_settings_).Handle(path, exchange) ||
       OpenAiHttp(service).Handle(path, exchange) || AdminHttp(service).Handle(path, exchange) ||
       DeployHttp(service).Handle(path, exchange)))
    return;
  Refuse(exchange, path, NotFound("no such path: {}", exchange.head().path));
}

Status HttpRouter::Admit(const HttpHead& head) {
  Look look;
  LookAt(head, &look);
  EK_RETURN_IF_ERROR(look.allowed);
  // Also on the routes that need nothing: nobody without a key has megabytes held here.
  return look.access.CheckKey();
}

HttpResponse HttpRouter::Refusal(std::string_view path, int http_status, std::string_view message) {
  return path.starts_with("/v1/") ? ApiErrorResponse(http_status, message)
                                  : JsonError(http_status, message);
}

}  // namespace evenkeel
