#include "frontends/grpc_model_infer.h"

#include <grpcpp/support/server_callback.h>

#include <atomic>

#include "core/format.h"
#include "frontends/grpc_glue.h"

namespace evenkeel {
namespace {

// Freed in OnDone(), which gRPC calls once the handler has returned, Finish() has taken effect and OnCancel() is not running: so
// neither Infer() nor Cancel() nor Done() can meet a freed call. Finish() is therefore the last thing Done() does.
class ModelInferCall final : public InferCall, public grpc::ServerUnaryReactor {
 public:
  ModelInferCall(grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
      : context_(*context), response_(*response) {}

  void Start(Service& service, const grpc::ByteBuffer& request) {
    arrived = SteadyClock::Instance().Now();
    deadline = DeadlineOf(context_, arrived);
    EchoRequestId(context_);
    const Status status = request_.Hold(request)
                              ? exchange_.Begin(service, request_.views(), this)
                              : InvalidArgument("inference request: unreadable message");
    if (!status.ok()) return Fail(status);
    started_ = true;
    exchange_.model().Infer(this);
  }

  void Done(const Status& status, std::span<const TensorView> outputs,
            const Timings& timings) override {
    done_.store(true, std::memory_order_relaxed);
    AddTimings(context_, timings);
    if (!status.ok()) return Fail(status);
    const auto size = exchange_.Prepare(outputs, /*in_stream=*/false);
    if (!size.ok()) return Fail(size.status());
    response_ = WriteMessage(exchange_, *size);
    Finish(grpc::Status::OK);
  }

  // Only after the handler has returned, so that started_ is settled.
  void OnCancel() override {
    if (started_ && !done_.load(std::memory_order_relaxed)) exchange_.model().Cancel(this);
  }
  void OnDone() override { delete this; }

  // Callbacks run on the thread that finds the event instead of through gRPC's executor: one thread hop fewer a call.
  bool InternalInlineable() override { return true; }

 private:
  void Fail(const Status& status) {
    AddRetryAdvice(context_, status);
    Finish(ToGrpc(status));
  }

  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer& response_;
  RequestSlices request_;
  GrpcExchange exchange_;
  bool started_ = false;
  std::atomic<bool> done_{
      false};  // saves pointless Cancel()s; Cancel() itself settles the race with Done()
};

}  // namespace

grpc::ServerUnaryReactor* StartModelInfer(Service& service, grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) {
  auto* const call = new ModelInferCall(context, response);
  call->Start(service, *request);
  return call;
}

}  // namespace evenkeel
