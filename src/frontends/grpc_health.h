// grpc.health.v1, answered from the GuardedService: "" and "inference.GRPCInferenceService" are the server, other names are models, of which
// only who may see them may ask.
//
// Contract: Check does not block. Watch sends the state at once and later changes within kHealthPeriod; while the server drains, its own
//   state is NOT_SERVING, and watches end. gRPC's built-in service is not used: it knows only names that were set beforehand.
// Thread-safety: thread-safe.
#pragma once

#include <chrono>

#include "access/caller_access.h"
#include "core/status.h"
#include "frontends/caller_places.h"

namespace grpc::health::v1 {
class HealthCheckRequest;
class HealthCheckResponse;
}  // namespace grpc::health::v1

namespace evenkeel {

class ByteStream;
class OpenStreams;
class GuardedService;
class StreamHandler;

inline constexpr std::chrono::milliseconds kHealthPeriod{100};

// Errors: kNotFound for a name that is neither the server's nor a model's; those of CallerAccess::CheckSee().
Status CheckHealth(const GuardedService& service, const OpenStreams& streams,
                   const grpc::health::v1::HealthCheckRequest& request,
                   grpc::health::v1::HealthCheckResponse* response);

// What a watch takes of the places for callers without a key; not held: it needs none.
struct WatchPlaces {
  CallerPlaces::Place unread;  // until its message has come, which has not long then
  CallerPlaces::Place watch;   // until it ends
};
// `access`: of whoever opened the stream; asked again at each look.
StreamHandler* OpenHealthWatch(ByteStream& stream, CallerAccess access, WatchPlaces places);
// To a caller without a key whose message does not come.
Status MessageIsLate();

}  // namespace evenkeel
