// Models on several nodes: POST /v2/cluster/deploy, POST /v2/cluster/undeploy, GET /v2/cluster/deploys; POST /v2/cluster/plan, which keeps a plan.
//
// Contract: as KServeHttp::Handle. Thread-safety: thread-safe.
#pragma once

#include "frontends/guarded_service.h"
#include "frontends/http_path.h"
#include "net/http_message.h"

namespace evenkeel {

class DeployHttp {
 public:
  explicit DeployHttp(GuardedService& service) : service_(service) {}
  bool Handle(const HttpPath& path, HttpExchange& exchange);

 private:
  void Deploy(HttpExchange& exchange);
  void Undeploy(HttpExchange& exchange);
  void List(HttpExchange& exchange);
  void StorePlan(HttpExchange& exchange);

  GuardedService& service_;
};

}  // namespace evenkeel
