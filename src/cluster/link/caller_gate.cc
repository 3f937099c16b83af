#include "cluster/link/caller_gate.h"

#include <grpcpp/server_context.h>

#include <chrono>

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

grpc::ServerUnaryReactor* CallerGate::Refuse(grpc::CallbackServerContext* context) const {
  const Status checked = Check(*context);
  if (checked.ok()) return nullptr;
  auto* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(checked));
  return reactor;
}

}  // namespace evenkeel::link
