// ModelInfer: one unary call, read from and answered into raw bytes (AcceptModelInfer of grpc_queue.h). A client that goes away, or
// whose grpc-timeout passes, cancels its work.
#include <grpcpp/support/async_unary_call.h>

#include <atomic>

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

}  // namespace

void AcceptModelInfer(GrpcFront& front, CallQueue& queue) { new ModelInferCall(front, queue); }

}  // namespace evenkeel
