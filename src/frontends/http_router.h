// Every HTTP request comes through here: who sent it, whether they may (frontends/routes.h), and then the protocol's paths, the command
// line's, and 404 for the rest.
//
// Contract: nothing is done for a request before its caller was identified and the route's need was met; without a valid key, a path that
//   there is not is answered like one that there is (401).
// Thread-safety: thread-safe.
#pragma once

#include "access/authorizer.h"
#include "frontends/kserve_http.h"
#include "frontends/routes.h"
#include "frontends/service.h"
#include "net/http_message.h"

namespace evenkeel {

// Which paths a listener serves.
enum class HttpPages : uint8_t {
  kAll,
  kMetrics,  // /metrics and health only, for the metrics port
};

class HttpRouter final : public HttpHandler {
 public:
  // `service` and `authorizer` outlive the router.
  HttpRouter(Service& service, const Authorizer& authorizer, HttpPages pages = HttpPages::kAll)
      : service_(service), authorizer_(authorizer), pages_(pages) {}
  void Handle(HttpExchange& exchange) override;
  Status Admit(const HttpHead& head) override;
  HttpResponse Refusal(std::string_view path, int http_status, std::string_view message) override;

 private:
  // What became of a head. `allowed` comes first, then `parsed`, then whether there is a `route`.
  struct Look {
    HttpPath path;
    CallerAccess access;
    Status allowed, parsed;
    const HttpRoute* route = nullptr;
  };
  void LookAt(const HttpHead& head, Look* look) const;
  bool Serves(const HttpPath& path) const;

  Service& service_;
  const Authorizer& authorizer_;
  const HttpPages pages_;
  HttpLogSettings log_settings_;
};

}  // namespace evenkeel
