// Keeps the threads that gRPC's callbacks run on.
//
// gRPC 1.51 ends them with the last channel that used them, and may abort if that is let go of on one of them, or if another one begins meanwhile (a completion queue is let go
// of twice): seen in 1 of 15 ends of a link that had just found nobody. So one channel that leads nowhere has used them, and stays for the process's life.
// Use: before a client's first channel whose calls end in callbacks. Thread-safety: thread-safe.
#pragma once

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

namespace evenkeel {

inline void KeepCallbackThreads() {
  struct Kept {
    grpc::GenericStub stub{grpc::CreateChannel("nowhere", nullptr)};  // its calls fail at once
    grpc::ClientContext context;
    grpc::Slice nothing;
    grpc::ByteBuffer request{&nothing, 1}, response;  // one without a slice is no message
  };
  static Kept* const kept = [] {
    auto* const one = new Kept;
    one->stub.UnaryCall(&one->context, "/nowhere", grpc::StubOptions(), &one->request,
                        &one->response, [](const grpc::Status&) {});
    return one;
  }();
  static_cast<void>(kept);
}

}  // namespace evenkeel
