// Which node calls, and whether it may. In front of every method that other nodes call (link_server.cc, model_service.cc).
//
// Contract: without credentials everybody may tell figures and have calls run; what changes this node, or hands out its files, is for callers on this machine and at the addresses of
//   the peers that the settings name (MayChange): whoever else reaches the port reads and removes no model. With them the caller's certificate has to name a node that is of the cluster now (NodeHost::IsOfCluster): a
//   certificate outlives a node's place on the list.
// Errors: kUnauthenticated (the certificate proves nothing), kPermissionDenied (no peer's address), kUnavailable (not on the list: who joined a moment ago asks again, and is known by then).
// Thread-safety: thread-safe. A value.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/link/node_credentials.h"
#include "core/status.h"

namespace evenkeel {

class NodeHost;

namespace link {

class CallerGate {
 public:
  // `host` and `credentials` (null: there are none) outlive it. `peers`: numeric addresses, which count without credentials alone.
  CallerGate(const NodeHost& host, const NodeCredentials* credentials,
             std::vector<std::string> peers)
      : host_(&host), credentials_(credentials), peers_(std::move(peers)) {}

  bool open() const { return credentials_ == nullptr; }  // nobody has to prove anything
  // Error kUnauthenticated; also where nobody has to prove anything.
  Result<std::string> CallerOf(const grpc::CallbackServerContext& context) const;
  Status Check(const grpc::CallbackServerContext& context) const;
  // Null: the call goes on. Else what to return: the call has been refused.
  grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context) const;
  // The same of a call that changes this node or hands out its files.
  grpc::ServerUnaryReactor* RefuseChange(grpc::CallbackServerContext* context) const;

 private:
  const NodeHost* host_;
  const NodeCredentials* credentials_;
  std::vector<std::string> peers_;
};

// Whether who calls from there may change a node that has no certificates: from this machine, or from one of the addresses. `caller` as gRPC writes it: "ipv4:10.0.0.2:41234",
// "ipv6:%5B::1%5D:41234".
bool MayChange(std::string_view caller, std::span<const std::string> peers);

// As gRPC has it.
grpc::Status ToGrpc(const Status& status);

}  // namespace link
}  // namespace evenkeel
