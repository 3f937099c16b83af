// Every HTTP request comes through here: the protocol's paths, the command line's, and 404 for the
// rest.
//
// Thread-safety: thread-safe.
#pragma once

#include "frontends/admin_http.h"
#include "frontends/kserve_http.h"
#include "frontends/openai_http.h"
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
  // `service` outlives the router.
  explicit HttpRouter(Service& service, HttpPages pages = HttpPages::kAll)
      : pages_(pages), kserve_(service), openai_(service), admin_(service) {}
  void Handle(HttpExchange& exchange) override;
  HttpResponse Refusal(std::string_view path, int http_status, std::string_view message) override;

 private:
  const HttpPages pages_;
  KServeHttp kserve_;
  OpenAiHttp openai_;
  AdminHttp admin_;
};

}  // namespace evenkeel
