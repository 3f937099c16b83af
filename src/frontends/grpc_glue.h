// What gRPC's calls share: statuses, metadata, message slices. Included by grpc_*.cc and kserve_grpc.cc only.
// Thread-safety: free functions are thread-safe for different calls; RequestSlices is thread-compatible.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <span>
#include <string>
#include <vector>

#include "access/authorizer.h"
#include "core/clock.h"
#include "core/status.h"
#include "frontends/grpc_exchange.h"
#include "net/gzip.h"

namespace google::protobuf {
class MessageLite;
}

namespace evenkeel {

grpc::Status ToGrpc(const Status& status);
// The message, cut to what fits a header.
std::string ErrorText(const Status& status);

// The bytes of a message, held until destroyed. A compressed message is unfolded here, never past its
// limit: gRPC's own unfolding has none, and is off (kserve_grpc.cc).
class RequestSlices {
 public:
  // Errors: kInvalidArgument (a broken compressed stream), kTooLarge (it unfolds to more than `max_bytes`).
  Status Hold(const grpc::ByteBuffer& message, size_t max_bytes);
  std::span<const ByteSpan> views() const { return views_; }
  size_t bytes() const;  // of all views

 private:
  Status Unfold(Coding coding, size_t max_bytes);

  std::vector<grpc::Slice> slices_;
  GrowingBytes unfolded_;
  std::vector<ByteSpan> views_;
};

// Who sent the call.
CallerAccess Identify(const Authorizer& authorizer, const grpc::ServerContextBase& context);

// The client's grpc-timeout as a time of ours; kNever without one.
Time DeadlineOf(const grpc::ServerContextBase& context, Time now);

// REQUIRES: exchange.Prepare() gave `size`.
grpc::ByteBuffer WriteMessage(const GrpcExchange& exchange, size_t size);

// Messages that are not worth a reader of their own, through protobuf. Errors of ReadMessage(): as Hold(), and kInvalidArgument for
// malformed bytes.
Status ReadMessage(const grpc::ByteBuffer& bytes, size_t max_bytes,
                   google::protobuf::MessageLite* message);
grpc::ByteBuffer ToMessage(const google::protobuf::MessageLite& message);

// Sends x-request-id back in the initial metadata. Before anything else is sent.
void EchoRequestId(grpc::ServerContextBase& context);
// Trailing metadata: server-timing.
void AddTimings(grpc::ServerContextBase& context, const Timings& timings);
// Trailing metadata of an error that may go away: retry-after (seconds) and grpc-retry-pushback-ms. Nothing for others.
void AddRetryAdvice(grpc::ServerContextBase& context, const Status& status);

}  // namespace evenkeel
