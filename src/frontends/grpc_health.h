// grpc.health.v1, answered from the Service: "" and "inference.GRPCInferenceService" are the server, other names are models.
//
// Contract: Check never blocks. Watch sends the state at once and later changes within kHealthPeriod; while the server drains the
//   server's own state is NOT_SERVING and watches end. gRPC's built-in service is not used: it knows only names set beforehand.
// Thread-safety: thread-safe.
#pragma once

#include <chrono>
#include <memory>

namespace grpc {
class Service;
}  // namespace grpc

namespace evenkeel {

class OpenStreams;
class Service;

inline constexpr std::chrono::milliseconds kHealthPeriod{100};

// Both must outlive what is returned, and that the server it is registered with.
std::unique_ptr<grpc::Service> MakeHealthService(const Service& service, OpenStreams& streams);

}  // namespace evenkeel
