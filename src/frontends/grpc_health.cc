#include "frontends/grpc_health.h"

#include <utility>

#include "access/authorizer.h"
#include "core/format.h"
#include "frontends/grpc_glue.h"
#include "frontends/grpc_queue.h"
#include "frontends/grpc_stream_infer.h"
#include "frontends/guarded_service.h"
#include "proto/health.pb.h"

namespace evenkeel {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using State = HealthCheckResponse::ServingStatus;

bool IsServer(const std::string& name) {
  return name.empty() || name == "inference.GRPCInferenceService";
}

// Of the server anybody may ask, of a model who may see it.
Status MayAsk(const GuardedService& service, const std::string& name) {
  return IsServer(name) ? Status() : service.access().CheckSee(name);
}

State StateOf(const GuardedService& service, const OpenStreams& streams, const std::string& name) {
  if (IsServer(name)) {
    return !streams.draining() && service.Live() && service.Ready()
               ? HealthCheckResponse::SERVING
               : HealthCheckResponse::NOT_SERVING;
  }
  const auto ready = service.ModelReady(name, "");
  if (ready.ok()) return *ready ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  return ready.status().code() == Code::kNotFound ? HealthCheckResponse::SERVICE_UNKNOWN
                                                  : HealthCheckResponse::NOT_SERVING;
}

// Looks at the state every kHealthPeriod; nothing runs while nobody watches. One operation at a time (read, then write or sleep in turn; a read
// whose time is bounded goes beside one sleep), all on the queue's thread; freed in OnDone().
class HealthWatch final : public StreamHandler {
 public:
  HealthWatch(ByteStream& stream, CallerAccess access, WatchPlaces places)
      : stream_(stream), access_(std::move(access)), places_(std::move(places)) {
    stream.Read(&message_);
    reading_ = true;
    if (!places_.unread.held()) return;
    sleeping_ = true;
    stream.WakeAfter(stream.front().keyless_patience);
  }

  void OnRead(bool ok) override {
    reading_ = false;
    places_.unread.Free();
    if (finished_) return;
    HealthCheckRequest request;
    if (!ok || !ReadMessage(message_, stream_.front().max_message_bytes, &request).ok()) {
      if (sleeping_) stream_.CancelWake();
      return Finish(InvalidArgument("health: malformed request"));
    }
    name_ = request.service();
    if (sleeping_) return stream_.CancelWake();  // it goes on when that has come
    Look();
  }
  void OnWritten(bool ok) override {
    ok ? Look() : Finish(Cancelled("health: the client is gone"));
  }
  void OnWake() override {
    sleeping_ = false;
    if (finished_) return;
    if (reading_) return Finish(MessageIsLate());
    Look();
  }
  void OnCancel() override {
    gone_ = true;
    if (sleeping_) stream_.CancelWake();
  }
  void OnDone() override { delete this; }

 private:
  void Look() {
    if (gone_) return Finish(Cancelled("health: the client is gone"));
    const GrpcFront& front = stream_.front();
    const GuardedService service(front.service, front.authorizer.Renew(access_));
    if (const Status allowed = MayAsk(service, name_); !allowed.ok()) return Finish(allowed);
    const State state = StateOf(service, front.streams, name_);
    if (state != sent_) {
      sent_ = state;
      HealthCheckResponse response;
      response.set_status(state);
      message_ = ToMessage(response);
      return stream_.Write(message_);
    }
    if (front.streams.draining()) return Finish(Unavailable("the server is shutting down"));
    sleeping_ = true;
    stream_.WakeAfter(kHealthPeriod);
  }

  void Finish(const Status& status) {
    finished_ = true;
    stream_.Finish(ToGrpc(status));
  }

  ByteStream& stream_;
  const CallerAccess access_;
  WatchPlaces places_;
  grpc::ByteBuffer message_;
  std::string name_;
  State sent_ = HealthCheckResponse::UNKNOWN;  // never a state that StateOf() gives
  bool reading_ = false, sleeping_ = false;
  bool gone_ = false, finished_ = false;
};

}  // namespace

Status CheckHealth(const GuardedService& service, const OpenStreams& streams,
                   const HealthCheckRequest& request, HealthCheckResponse* response) {
  EK_RETURN_IF_ERROR(MayAsk(service, request.service()));
  const State state = StateOf(service, streams, request.service());
  if (state == HealthCheckResponse::SERVICE_UNKNOWN)
    return NotFound("unknown service '{}'", request.service());
  response->set_status(state);
  return Status::Ok();
}

StreamHandler* OpenHealthWatch(ByteStream& stream, CallerAccess access, WatchPlaces places) {
  return new HealthWatch(stream, std::move(access), std::move(places));
}

Status MessageIsLate() {
  return DeadlineExceeded(
      "the call's message did not come in time: without an API key it has a few seconds");
}

}  // namespace evenkeel
