// ModelInfer: one unary call, read from and answered into raw bytes. A client that goes away, or whose grpc-timeout passes, cancels its work. Twice, as grpc_queue.h has it: registered
// (AcceptModelInfer), and through the generic service (OpenModelInfer).
#include <grpcpp/support/async_unary_call.h>

#include <atomic>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "frontends/client_gone.h"
#include "frontends/grpc_glue.h"
#include "frontends/grpc_queue.h"
#include "frontends/guarded_service.h"
#include "frontends/routes.h"

namespace evenkeel {
namespace {

// Freed on its queue's thread, after the end of the call and the end of Finish(). Infer() and Cancel() are called on that thread and Done()
// calls Finish() last, so none of them can meet a freed call.
class ModelInferCall final : public InferCall {
 public:
  ModelInferCall(GrpcFront& front, CallQueue& queue) : front_(front), queue_(queue) {
    context_.AsyncNotifyWhenDone(gone_.tag());
    front.infer.Request(&context_, &message_, &writer_, queue.get(), arrived_.tag());
  }

  void Done(const Status& status, std::span<const TensorView> outputs,
            const Timings& timings) override {
    done_.store(true, std::memory_order_relaxed);
    AddTimings(context_, timings);
    if (!status.ok()) return Fail(status);
    const auto size = exchange_.Prepare(outputs, /*in_stream=*/false);
    if (!size.ok()) return Fail(size.status());
    const grpc::ByteBuffer message = WriteMessage(exchange_, *size);
    answered_.store(true, std::memory_order_release);
    writer_.Finish(message, grpc::Status::OK, finished_.tag());
  }

 private:
  void Arrived(bool ok) {
    if (!ok) {  // the server shuts down; no other event will come
      delete this;
      return;
    }
    queue_.Enter();
    AcceptModelInfer(front_, queue_);
    arrived = SteadyClock::Instance().Now();
    deadline = DeadlineOf(context_, arrived);
    EchoRequestId(context_);
    const GuardedService service(front_.service, Identify(front_.authorizer, context_));
    Status status = CheckNeed(Need::kModelInside, service.access());
    if (status.ok())
      status = request_.Hold(message_, front_.max_message_bytes).Annotate("inference request");
    if (status.ok()) status = exchange_.Begin(service, request_.views(), this);
    if (!status.ok()) return Fail(status);
    started_ = true;
    exchange_.model().Infer(this);
  }

  void Gone(bool) {
    // The flag saves pointless Cancel()s; Cancel() itself settles the race with Done().
    if (context_.IsCancelled() && started_ && !done_.load(std::memory_order_relaxed)) {
      LogClientGone(exchange_.model().name(), "gRPC");
      exchange_.model().Cancel(this);
    }
    Ended();
  }
  void Finished(bool) { Ended(); }

  void Ended() {
    if (--events_ > 0) return;
    EK_CHECK(answered_.load(std::memory_order_acquire));
    CallQueue& queue = queue_;
    delete this;
    queue.Leave();
  }

  void Fail(const Status& status) {
    AddRetryAdvice(context_, status);
    answered_.store(true, std::memory_order_release);
    writer_.FinishWithError(ToGrpc(status), finished_.tag());
  }

  GrpcFront& front_;
  CallQueue& queue_;
  grpc::ServerContext context_;
  grpc::ByteBuffer message_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer_{&context_};
  RequestSlices request_;
  GrpcExchange exchange_;
  bool started_ = false;
  std::atomic<bool> done_{false};
  // Orders what Done() did before the freeing, in our own words: gRPC's ordering is invisible to ThreadSanitizer.
  std::atomic<bool> answered_{false};
  int events_ = 2;  // that are still to come
  EventOf<ModelInferCall> arrived_{this, &ModelInferCall::Arrived},
      gone_{this, &ModelInferCall::Gone}, finished_{this, &ModelInferCall::Finished};
};

// The same where callers need keys. Freed in OnDone(), on the queue's thread, as all events happen there; Done() finishes the call last.
class GuardedInferCall final : public InferCall, public StreamHandler {
 public:
  GuardedInferCall(ByteStream& stream, CallerAccess access)
      : stream_(stream), access_(std::move(access)) {
    stream_.Read(&message_);
  }

  void Done(const Status& status, std::span<const TensorView> outputs,
            const Timings& timings) override {
    done_.store(true, std::memory_order_relaxed);
    AddTimings(stream_.context(), timings);
    if (!status.ok()) return Fail(status);
    const auto size = exchange_.Prepare(outputs, /*in_stream=*/false);
    if (!size.ok()) return Fail(size.status());
    const grpc::ByteBuffer message = WriteMessage(exchange_, *size);
    answered_.store(true, std::memory_order_release);
    stream_.WriteAndFinish(message, grpc::Status::OK);
  }

  void OnRead(bool ok) override {
    if (gone_) return Fail(Cancelled("the client is gone"));
    if (!ok) return Fail(InvalidArgument("inference request: the call has none"));
    const GrpcFront& front = stream_.front();
    arrived = SteadyClock::Instance().Now();
    deadline = DeadlineOf(stream_.context(), arrived);
    // The key may be revoked or expired by now.
    const GuardedService service(front.service, front.authorizer.Renew(access_));
    Status status = CheckNeed(Need::kModelInside, service.access());
    if (status.ok())
      status = request_.Hold(message_, front.max_message_bytes).Annotate("inference request");
    if (status.ok()) status = exchange_.Begin(service, request_.views(), this);
    if (!status.ok()) return Fail(status);
    started_ = true;
    exchange_.model().Infer(this);
  }
  void OnWritten(bool) override {}
  void OnCancel() override {
    gone_ = true;
    if (!started_ || done_.load(std::memory_order_relaxed)) return;
    LogClientGone(exchange_.model().name(), "gRPC");
    exchange_.model().Cancel(this);
  }
  void OnDone() override {
    EK_CHECK(answered_.load(std::memory_order_acquire));
    delete this;
  }

 private:
  void Fail(const Status& status) {
    AddRetryAdvice(stream_.context(), status);
    answered_.store(true, std::memory_order_release);
    stream_.Finish(ToGrpc(status));
  }

  ByteStream& stream_;
  const CallerAccess access_;
  grpc::ByteBuffer message_;
  RequestSlices request_;
  GrpcExchange exchange_;
  bool started_ = false, gone_ = false;
  std::atomic<bool> done_{false};
  std::atomic<bool> answered_{false};  // as ModelInferCall's
};

}  // namespace

StreamHandler* OpenModelInfer(ByteStream& stream, CallerAccess access) {
  return new GuardedInferCall(stream, std::move(access));
}

void AcceptModelInfer(GrpcFront& front, CallQueue& queue) { new ModelInferCall(front, queue); }

}  // namespace evenkeel
