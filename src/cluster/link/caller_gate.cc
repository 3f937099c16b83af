#include "cluster/link/caller_gate.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <chrono>

#include "cluster/home/cluster_home.h"
#include "cluster/link/link_server.h"
#include "core/format.h"

namespace evenkeel::link {

grpc::Status ToGrpc(const Status& status) {
  return {static_cast<grpc::StatusCode>(InfoOf(status.code()).grpc), status.message()};
}

Result<std::string> CallerGate::CallerOf(const grpc::CallbackServerContext& context) const {
  if (credentials_ == nullptr) return Unauthenticated("nodes have no certificates here");
  return credentials_->CallerOf(*context.auth_context(), std::chrono::floor<std::chrono::seconds>(
                                                             std::chrono::system_clock::now()));
}

Status CallerGate::Check(const grpc::CallbackServerContext& context) const {
  if (credentials_ == nullptr) return Status::Ok();
  const auto caller = CallerOf(context);
  if (!caller.ok()) return caller.status();
  if (host_->IsOfCluster(*caller)) return Status::Ok();
  return Unavailable("node '{}' is not known here yet, or was taken off the cluster", *caller);
}

namespace {

grpc::ServerUnaryReactor* RefuseWith(const Status& status, grpc::CallbackServerContext* context) {
  if (status.ok()) return nullptr;
  auto* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// "" where the caller has no address.
std::string AddressOf(std::string_view caller) {
  const bool v4 = caller.starts_with("ipv4:"), v6 = caller.starts_with("ipv6:");
  const size_t port = caller.rfind(':');
  if ((!v4 && !v6) || port < 5) return {};
  std::string address(caller.substr(5, port - 5));
  // A URI's brackets are written out.
  for (const std::string_view bracket : {"%5B", "%5D", "[", "]"}) {
    if (const size_t at = address.find(bracket); at != std::string::npos)
      address.erase(at, bracket.size());
  }
  return address;
}

}  // namespace

bool MayChange(std::string_view caller, std::span<const std::string> peers) {
  const std::string address = AddressOf(caller);
  if (address.empty()) return false;
  const bool loopback =
      (caller.starts_with("ipv4:") && address.starts_with("127.")) || SameHost(address, "::1");
  return loopback || std::ranges::any_of(
                         peers, [&](const std::string& peer) { return SameHost(address, peer); });
}

grpc::ServerUnaryReactor* CallerGate::Refuse(grpc::CallbackServerContext* context) const {
  return RefuseWith(Check(*context), context);
}

grpc::ServerUnaryReactor* CallerGate::RefuseChange(grpc::CallbackServerContext* context) const {
  if (credentials_ == nullptr && !MayChange(context->peer(), peers_))
    return RefuseWith(
        PermissionDenied("without certificates this node is changed, and its files are read, from "
                         "the addresses of its cluster.peers only, got {}",
                         context->peer()),
        context);
  return Refuse(context);
}

}  // namespace evenkeel::link
