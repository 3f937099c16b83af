// Which node calls, and whether it may. In front of every method that other nodes call (link_server.cc, model_service.cc).
//
// Contract: without credentials everybody is trusted. With them the caller's certificate has to name a node that is of the cluster now (NodeHost::IsOfCluster): a
//   certificate outlives a node's place on the list.
// Errors: kUnauthenticated (the certificate proves nothing), kUnavailable (not on the list: who joined a moment ago asks again, and is known by then).
// Thread-safety: thread-safe. A value.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <string>

#include "cluster/link/node_credentials.h"
#include "core/status.h"

namespace evenkeel {

class NodeHost;

namespace link {

class CallerGate {
 public:
  // `host` and `credentials` (null: everybody is trusted) outlive it.
  CallerGate(const NodeHost& host, const NodeCredentials* credentials)
      : host_(&host), credentials_(credentials) {}

  bool open() const { return credentials_ == nullptr; }  // nobody has to prove anything
  // Error kUnauthenticated; also where nobody has to prove anything.
  Result<std::string> CallerOf(const grpc::CallbackServerContext& context) const;
  Status Check(const grpc::CallbackServerContext& context) const;
  // Null: the call goes on. Else what to return: the call has been refused.
  grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context) const;

 private:
  const NodeHost* host_;
  const NodeCredentials* credentials_;
};

// As gRPC has it.
grpc::Status ToGrpc(const Status& status);

}  // namespace link
}  // namespace evenkeel
