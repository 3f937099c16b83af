// ModelInfer: one unary call, read from and answered into raw bytes.
// Contract: the call lives until gRPC is done with it; a client that goes away, or whose grpc-timeout passes, cancels its work.
// Thread-safety: thread-safe.
#pragma once

namespace grpc {
class ByteBuffer;
class CallbackServerContext;
class ServerUnaryReactor;
}  // namespace grpc

namespace evenkeel {

class Service;

// The handler of the raw callback method: starts the call and returns its reactor, which frees itself.
grpc::ServerUnaryReactor* StartModelInfer(Service& service, grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response);

}  // namespace evenkeel
