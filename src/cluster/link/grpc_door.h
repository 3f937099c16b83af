// A gRPC server's port for nodes: mutual TLS, 1.3 only.
//
// Use: Attach() to the builder; Open() once the server has started; the door goes before the server is shut down.
// Errors: Attach(): as HelloGate::Listen(). Thread-safety: as HelloGate.
#pragma once

#include <grpcpp/server_builder.h>

#include <memory>

#include "cluster/link/hello_gate.h"
#include "cluster/link/node_credentials.h"
#include "core/status.h"

namespace evenkeel::link {

class GrpcDoor {
 public:
  static Result<std::unique_ptr<GrpcDoor>> Attach(grpc::ServerBuilder& builder,
                                                  const NodeCredentials& credentials,
                                                  const HelloGateOptions& options, IoLoop& loop);
  void Open();
  uint16_t port() const { return gate_->port(); }

 private:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;
  GrpcDoor(std::unique_ptr<HelloGate> gate, std::unique_ptr<Acceptor> acceptor);

  const std::shared_ptr<Acceptor> acceptor_;  // also the gate's, while it may pass something
  const std::unique_ptr<HelloGate> gate_;
};

}  // namespace evenkeel::link
