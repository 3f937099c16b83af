#include "cluster/link/grpc_door.h"

#include <utility>

namespace evenkeel::link {

Result<std::unique_ptr<GrpcDoor>> GrpcDoor::Attach(grpc::ServerBuilder& builder,
                                                   const NodeCredentials& credentials,
                                                   const HelloGateOptions& options, IoLoop& loop) {
  Result<std::unique_ptr<HelloGate>> gate = HelloGate::Listen(options, loop);
  if (!gate.ok()) return gate.status();
  auto acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      credentials.Server());
  return std::unique_ptr<GrpcDoor>(new GrpcDoor(std::move(*gate), std::move(acceptor)));
}

GrpcDoor::GrpcDoor(std::unique_ptr<HelloGate> gate, std::unique_ptr<Acceptor> acceptor)
    : acceptor_(std::move(acceptor)), gate_(std::move(gate)) {}

void GrpcDoor::Open() {
  gate_->Open([acceptor = acceptor_](int fd, const std::string& read) {
    Acceptor::NewConnectionParameters connection;
    connection.fd = fd;
    const grpc::Slice slice(read);
    connection.read_buffer = grpc::ByteBuffer(&slice, 1);
    acceptor->HandleNewConnection(&connection);
  });
}

}  // namespace evenkeel::link
