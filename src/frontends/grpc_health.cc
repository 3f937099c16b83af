#include "frontends/grpc_health.h"

#include "core/format.h"
#include "frontends/grpc_glue.h"
#include "frontends/grpc_queue.h"
#include "frontends/grpc_stream_infer.h"
#include "frontends/service.h"
#include "proto/health.pb.h"

namespace evenkeel {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using State = HealthCheckResponse::ServingStatus;

State StateOf(const Service& service, const OpenStreams& streams, const std::string& name) {
  if (name.empty() || name == "inference.GRPCInferenceService") {
    return !streams.draining() && service.Live() && service.Ready(nullptr)
               ? HealthCheckResponse::SERVING
               : HealthCheckResponse::NOT_SERVING;
  }
  const auto ready = service.ModelReady(name, "");
  if (ready.ok()) return *ready ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  return ready.status().code() == Code::kNotFound ? HealthCheckResponse::SERVICE_UNKNOWN
                                                  : HealthCheckResponse::NOT_SERVING;
}

// Looks at the state every kHealthPeriod; nothing runs while nobody watches. One operation at a time (read, then write or sleep in turn),
// all on the queue's thread; freed in OnDone().
class HealthWatch final : public StreamHandler {
 public:
  explicit HealthWatch(ByteStream& stream) : stream_(stream) { stream.Read(&message_); }

  void OnRead(bool ok) override {
    HealthCheckRequest request;
    if (!ok || !ReadMessage(message_, stream_.front().max_message_bytes, &request).ok())
      return Finish(InvalidArgument("health: malformed request"));
    name_ = request.service();
    Look();
  }
  void OnWritten(bool ok) override {
    ok ? Look() : Finish(Cancelled("health: the client is gone"));
  }
  void OnWake() override {
    sleeping_ = false;
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
    const State state = StateOf(front.service, front.streams, name_);
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

  void Finish(const Status& status) { stream_.Finish(ToGrpc(status)); }

  ByteStream& stream_;
  grpc::ByteBuffer message_;
  std::string name_;
  State sent_ = HealthCheckResponse::UNKNOWN;  // never a state that StateOf() gives
  bool sleeping_ = false;
  bool gone_ = false;
};

}  // namespace

Status CheckHealth(const Service& service, const OpenStreams& streams,
                   const HealthCheckRequest& request, HealthCheckResponse* response) {
  const State state = StateOf(service, streams, request.service());
  if (state == HealthCheckResponse::SERVICE_UNKNOWN)
    return NotFound("unknown service '{}'", request.service());
  response->set_status(state);
  return Status::Ok();
}

StreamHandler* OpenHealthWatch(ByteStream& stream) { return new HealthWatch(stream); }

}  // namespace evenkeel
