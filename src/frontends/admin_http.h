// What the command line asks the daemon: /v2/evenkeel/models, /v2/evenkeel/samples and /v2/evenkeel/cluster with what is below it.
//
// Contract: as KServeHttp::Handle.
// Thread-safety: thread-safe.
#pragma once

#include "frontends/guarded_service.h"
#include "frontends/http_path.h"
#include "net/http_message.h"

namespace evenkeel {

class AdminHttp {
 public:
  explicit AdminHttp(GuardedService& service) : service_(service) {}
  bool Handle(const HttpPath& path, HttpExchange& exchange);

 private:
  void Models(HttpExchange& exchange);
  void Cluster(HttpExchange& exchange);
  // What is below /v2/evenkeel/cluster; false: nothing.
  bool Cluster(const HttpPath& path, HttpExchange& exchange);
  void Membership(HttpExchange& exchange);
  void ChangeMembership(std::string_view change, std::string_view node, HttpExchange& exchange);
  void NodeState(std::string_view node, std::string_view state, HttpExchange& exchange);
  void Model(std::string_view name, HttpExchange& exchange);
  void Samples(HttpExchange& exchange);
  void SamplesOf(std::string_view model, HttpExchange& exchange);
  void Remove(std::string_view model, HttpExchange& exchange);

  GuardedService& service_;
};

}  // namespace evenkeel
