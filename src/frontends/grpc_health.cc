#include "frontends/grpc_health.h"

#include <grpcpp/alarm.h>

#include <mutex>
#include <string>
#include <utility>

#include "frontends/grpc_stream_infer.h"
#include "frontends/service.h"
#include "proto/health.grpc.pb.h"

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

// Looks at the state every kHealthPeriod while it is open; nothing runs while nobody watches. Freed when gRPC, the alarm and
// whoever drains it are done with it.
class StateWatch final : public grpc::ServerWriteReactor<HealthCheckResponse>, public Drainable {
 public:
  StateWatch(const Service& service, const OpenStreams& streams, std::string name)
      : service_(service), streams_(streams), name_(std::move(name)) {}

  void Start(std::shared_ptr<StateWatch> self) {
    self_ = self;
    Look(std::move(self));
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      gone_ = gone_ || !ok;
    }
    Proceed();
  }
  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      gone_ = true;
    }
    Proceed();
  }
  void Drain() override {
    {
      const std::lock_guard lock(mutex_);
      draining_ = true;
    }
    Proceed();
  }
  void OnDone() override { self_.reset(); }

 private:
  // Runs at once and then at every alarm, until the stream has ended. `self` keeps *this for the alarm's callback.
  void Look(std::shared_ptr<StateWatch> self) {
    Proceed();
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    alarm_ = grpc::Alarm();  // a fresh one: the old one may be in this very callback
    alarm_.Set(std::chrono::system_clock::now() + kHealthPeriod,
               [this, self = std::move(self)](bool expired) mutable {
                 if (expired) Look(std::move(self));
               });
  }

  // Sends the state if it differs from the one sent last; ends the stream when that is due.
  void Proceed() {
    bool write = false, finish = false;
    {
      const std::lock_guard lock(mutex_);
      if (finished_ || writing_) return;
      // Asked under the lock: once finished_ is set the service may be gone.
      const State state = StateOf(service_, streams_, name_);
      write = !gone_ && state != sent_;
      finish = finished_ = gone_ || (draining_ && !write);
      if (finish) alarm_.Cancel();
      if (write) {
        writing_ = true;
        sent_ = state;
        response_.set_status(state);
      }
    }
    if (write) StartWrite(&response_);
    if (finish) Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
  }

  const Service& service_;
  const OpenStreams& streams_;
  const std::string name_;
  std::shared_ptr<StateWatch> self_;  // gRPC's share, until OnDone()
  grpc::Alarm alarm_;

  std::mutex mutex_;                           // guards all below
  HealthCheckResponse response_;               // owned by the write while writing_
  State sent_ = HealthCheckResponse::UNKNOWN;  // never a state that StateOf() gives
  bool writing_ = false;
  bool gone_ = false;  // the client is
  bool draining_ = false;
  bool finished_ = false;
};

class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  HealthService(const evenkeel::Service& service, OpenStreams& streams)
      : service_(service), streams_(streams) {}

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const HealthCheckRequest* request,
                                  HealthCheckResponse* response) override {
    const State state = StateOf(service_, streams_, request->service());
    response->set_status(state);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(state == HealthCheckResponse::SERVICE_UNKNOWN
                        ? grpc::Status(grpc::StatusCode::NOT_FOUND,
                                       "unknown service '" + request->service() + "'")
                        : grpc::Status::OK);
    return reactor;
  }

  grpc::ServerWriteReactor<HealthCheckResponse>* Watch(grpc::CallbackServerContext*,
                                                       const HealthCheckRequest* request) override {
    const auto watch = std::make_shared<StateWatch>(service_, streams_, request->service());
    watch->Start(watch);
    streams_.Add(watch);
    return watch.get();
  }

 private:
  const evenkeel::Service& service_;
  OpenStreams& streams_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeHealthService(const evenkeel::Service& service,
                                                 OpenStreams& streams) {
  return std::make_unique<HealthService>(service, streams);
}

}  // namespace evenkeel
