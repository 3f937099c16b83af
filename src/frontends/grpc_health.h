// grpc.health.v1, answered from the Service: "" and "inference.GRPCInferenceService" are the server, other names are models.
//
// Contract: Check does not block. Watch sends the state at once and later changes within kHealthPeriod; while the server drains, its own
//   state is NOT_SERVING, and watches end. gRPC's built-in service is not used: it knows only names that were set beforehand.
// Thread-safety: thread-safe.
#pragma once

#include <chrono>

#include "core/status.h"

namespace grpc::health::v1 {
class HealthCheckRequest;
class HealthCheckResponse;
}  // namespace grpc::health::v1

namespace evenkeel {

class ByteStream;
class OpenStreams;
class Service;
class StreamHandler;

inline constexpr std::chrono::milliseconds kHealthPeriod{100};

// Error kNotFound for a name that is neither the server's nor a model's.
Status CheckHealth(const Service& service, const OpenStreams& streams,
                   const grpc::health::v1::HealthCheckRequest& request,
                   grpc::health::v1::HealthCheckResponse* response);

StreamHandler* OpenHealthWatch(ByteStream& stream);

}  // namespace evenkeel
