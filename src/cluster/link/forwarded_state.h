// A state that another node asked for, while it is read here and sent. Internal to link_server.cc.
//
// Ownership: as the calls of forwarded_calls.h: gRPC's and its own, until OnDone(). One event is written after the other, so that no more waits than the state itself.
// Thread-safety: the host's callback comes once, gRPC's after it.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <optional>

#include "cluster/link/link_server.h"
#include "proto/node.pb.h"

namespace evenkeel {

class ForwardedState final : public grpc::ServerWriteReactor<node::v1::StateEvent> {
 public:
  ForwardedState(NodeHost& host, const node::v1::ReadStateRequest& message);

 private:
  void OnState(Result<BoundState> state);
  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }
  void Write();

  std::optional<StateWriter> writer_;
  node::v1::StateEvent event_;
  bool last_ = false;  // what is being written
};

}  // namespace evenkeel
