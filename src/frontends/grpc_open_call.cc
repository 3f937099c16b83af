// Which handler serves which method: OpenCall() of grpc_queue.h, and the unary calls of grpc_control.h.
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/format.h"
#include "frontends/grpc_control.h"
#include "frontends/grpc_glue.h"
#include "frontends/grpc_health.h"
#include "frontends/grpc_queue.h"
#include "frontends/grpc_stream_infer.h"
#include "frontends/guarded_service.h"
#include "frontends/routes.h"
#include "proto/grpc_service.pb.h"
#include "proto/health.pb.h"

namespace evenkeel {
namespace {

class UnaryCall;
using Serve = void (*)(UnaryCall& call);

// Reads one message, has it served, sends one back. Freed in OnDone().
class UnaryCall final : public StreamHandler {
 public:
  // `unread`: the caller's place while its message is awaited, and not for long; not held: it may take its time.
  UnaryCall(ByteStream& stream, CallerAccess access, Serve serve, CallerPlaces::Place unread)
      : stream_(stream),
        service_(stream.front().service, std::move(access)),
        serve_(serve),
        unread_(std::move(unread)) {
    stream.Read(&message_);
    if (unread_.held()) stream.WakeAfter(stream.front().keyless_patience);
  }

  void OnRead(bool ok) override {
    if (late_) return;
    if (unread_.held()) stream_.CancelWake();
    unread_.Free();
    if (!ok) return Reply(InvalidArgument("{}: the call has no request", stream_.method()), {});
    serve_(*this);
  }
  void OnWritten(bool) override {}
  void OnWake() override {
    if (!unread_.held()) return;
    late_ = true;
    unread_.Free();
    Reply(MessageIsLate(), {});
  }
  void OnDone() override { delete this; }

  GuardedService& service() { return service_; }
  OpenStreams& streams() { return stream_.front().streams; }

  // Answers the error itself.
  bool Read(google::protobuf::MessageLite* request) {
    const Status status = ReadMessage(message_, stream_.front().max_message_bytes, request);
    if (!status.ok()) Reply(status.Annotate(stream_.method()), {});
    return status.ok();
  }
  // Once, from any thread.
  void Reply(const Status& status, const grpc::ByteBuffer& message) {
    if (status.ok()) return stream_.WriteAndFinish(message, grpc::Status::OK);
    AddRetryAdvice(stream_.context(), status);
    stream_.Finish(ToGrpc(status));
  }

 private:
  ByteStream& stream_;
  GuardedService service_;
  const Serve serve_;
  CallerPlaces::Place unread_;
  bool late_ = false;  // answered before its message came
  grpc::ByteBuffer message_;
};

// A call that is not opened: answered without a look at its messages. Freed in OnDone().
class RefusedCall final : public StreamHandler {
 public:
  RefusedCall(ByteStream& stream, const Status& status) {
    AddRetryAdvice(stream.context(), status);
    stream.Finish(ToGrpc(status));
  }
  void OnRead(bool) override {}
  void OnWritten(bool) override {}
  void OnDone() override { delete this; }
};

// A call that is answered at once by `function(call, request, &response)`.
template <typename Request, typename Response, auto function>
void Answer(UnaryCall& call) {
  Request request;
  Response response;
  if (!call.Read(&request)) return;
  const Status status = function(call, request, &response);
  call.Reply(status, status.ok() ? ToMessage(response) : grpc::ByteBuffer());
}

// Load and unload, which answer later.
template <typename Request, typename Response,
          void (*function)(GuardedService&, const Request&, std::function<void(Status)>)>
void AnswerLater(UnaryCall& call) {
  Request request;
  if (!call.Read(&request)) return;
  function(call.service(), request,
           [&call](const Status& status) { call.Reply(status, ToMessage(Response())); });
}

void RefuseSharedMemory(UnaryCall& call) {
  call.Reply(Unsupported("shared memory is not supported: send tensors in the request"), {});
}

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

#define EK_MESSAGES(Name) inference::Name##Request, inference::Name##Response
// A row whose function takes the service, and one whose function needs nothing.
#define EK_SERVICE_ROW(Name, Function)                                                         \
  {                                                                                            \
    "/inference.GRPCInferenceService/" #Name,                                                  \
        Answer<EK_MESSAGES(Name), [](UnaryCall& call, const inference::Name##Request& request, \
                                     inference::Name##Response* response) {                    \
          return Function(call.service(), request, response);                                  \
        }>                                                                                     \
  }
#define EK_PLAIN_ROW(Name, Function)                                                            \
  {                                                                                             \
    "/inference.GRPCInferenceService/" #Name,                                                   \
        Answer<EK_MESSAGES(Name),                                                               \
               [](UnaryCall&, const inference::Name##Request& request,                          \
                  inference::Name##Response* response) { return Function(request, response); }> \
  }
#define EK_LATER_ROW(Name, Function) \
  { "/inference.GRPCInferenceService/" #Name, AnswerLater<EK_MESSAGES(Name), Function> }

Status Live(UnaryCall& call, const inference::ServerLiveRequest&,
            inference::ServerLiveResponse* response) {
  response->set_live(call.service().Live());
  return Status::Ok();
}

Status Ready(UnaryCall& call, const inference::ServerReadyRequest&,
             inference::ServerReadyResponse* response) {
  response->set_ready(!call.streams().draining() && call.service().Ready());
  return Status::Ok();
}

Status Metadata(const inference::ServerMetadataRequest&,
                inference::ServerMetadataResponse* response) {
  GetServerMetadata(response);
  return Status::Ok();
}

Status Health(UnaryCall& call, const HealthCheckRequest& request, HealthCheckResponse* response) {
  return CheckHealth(call.service(), call.streams(), request, response);
}

const std::unordered_map<std::string_view, Serve>& Methods() {
  static const std::unordered_map<std::string_view, Serve> methods = {
      {"/inference.GRPCInferenceService/ServerLive", Answer<EK_MESSAGES(ServerLive), Live>},
      {"/inference.GRPCInferenceService/ServerReady", Answer<EK_MESSAGES(ServerReady), Ready>},
      EK_PLAIN_ROW(ServerMetadata, Metadata),
      EK_SERVICE_ROW(ModelReady, GetModelReady),
      EK_SERVICE_ROW(ModelMetadata, GetModelMetadata),
      EK_SERVICE_ROW(ModelConfig, GetModelConfig),
      EK_SERVICE_ROW(ModelStatistics, GetModelStatistics),
      EK_SERVICE_ROW(RepositoryIndex, GetRepositoryIndex),
      EK_LATER_ROW(RepositoryModelLoad, LoadModel),
      EK_LATER_ROW(RepositoryModelUnload, UnloadModel),
      EK_PLAIN_ROW(TraceSetting, ApplyTraceSettings),
      EK_SERVICE_ROW(LogSettings, ApplyLogSettings),
      {"/inference.GRPCInferenceService/SystemSharedMemoryStatus", RefuseSharedMemory},
      {"/inference.GRPCInferenceService/SystemSharedMemoryRegister", RefuseSharedMemory},
      {"/inference.GRPCInferenceService/SystemSharedMemoryUnregister", RefuseSharedMemory},
      {"/inference.GRPCInferenceService/CudaSharedMemoryStatus", RefuseSharedMemory},
      {"/inference.GRPCInferenceService/CudaSharedMemoryRegister", RefuseSharedMemory},
      {"/inference.GRPCInferenceService/CudaSharedMemoryUnregister", RefuseSharedMemory},
      {"/grpc.health.v1.Health/Check", Answer<HealthCheckRequest, HealthCheckResponse, Health>},
  };
  return methods;
}

}  // namespace

StreamHandler* OpenCall(ByteStream& stream) {
  const std::string& method = stream.method();
  GrpcFront& front = stream.front();
  const bool infer = method == "/inference.GRPCInferenceService/ModelInfer";
  if (infer) EchoRequestId(stream.context());  // of a refused call, too
  CallerAccess access = Identify(front.authorizer, stream.context());
  const std::optional<Need> need = GrpcNeedOf(method);
  const Status allowed = CheckNeed(need.value_or(Need::kKey), access);
  if (!allowed.ok()) return new RefusedCall(stream, allowed);
  if (need && infer) return OpenModelInfer(stream, std::move(access));
  if (need && method == "/inference.GRPCInferenceService/ModelStreamInfer")
    return OpenModelStreamInfer(stream, std::move(access));
  // gRPC holds all of a message before it measures it. Where callers need keys, those who show none get few places for that, and little time.
  const bool keyless = access.key() == nullptr;
  CallerPlaces::Place unread;
  if (keyless && front.authorizer.required()) {
    unread = front.unread.Take(stream.context().peer());
    if (!unread.held())
      return new RefusedCall(stream, Overloaded("too many calls without a key are under way"));
  }
  if (need && method == "/grpc.health.v1.Health/Watch") {
    CallerPlaces::Place watch;
    if (keyless) {
      watch = front.watches.Take(stream.context().peer());
      if (!watch.held())
        return new RefusedCall(stream, Overloaded("too many health watches are open: end some, or "
                                                  "send an API key with those that are needed"));
    }
    return OpenHealthWatch(stream, std::move(access), {std::move(unread), std::move(watch)});
  }
  const auto found = Methods().find(method);
  if (!need || found == Methods().end())
    return new RefusedCall(stream, Unsupported("unknown method"));
  return new UnaryCall(stream, std::move(access), found->second, std::move(unread));
}

}  // namespace evenkeel
