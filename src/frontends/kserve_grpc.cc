#include "frontends/kserve_grpc.h"

#include <grpc/support/log.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "frontends/grpc_control.h"
#include "frontends/grpc_glue.h"
#include "frontends/grpc_health.h"
#include "frontends/grpc_model_infer.h"
#include "frontends/grpc_stream_infer.h"
#include "frontends/service.h"
#include "proto/grpc_service.grpc.pb.h"

namespace evenkeel {
namespace {

using Base = inference::GRPCInferenceService;
using Context = grpc::CallbackServerContext;
using Unary = grpc::ServerUnaryReactor;

// Inference as bytes; the rest as messages.
using Raw = Base::WithRawCallbackMethod_ModelInfer<
    Base::WithRawCallbackMethod_ModelStreamInfer<Base::Service>>;
using WithHealth = Base::WithCallbackMethod_ModelReady<
    Base::WithCallbackMethod_ServerReady<Base::WithCallbackMethod_ServerLive<Raw>>>;
using WithMetadata = Base::WithCallbackMethod_ModelStatistics<Base::WithCallbackMethod_ModelConfig<
    Base::WithCallbackMethod_ModelMetadata<Base::WithCallbackMethod_ServerMetadata<WithHealth>>>>;
using WithRepository =
    Base::WithCallbackMethod_RepositoryModelUnload<Base::WithCallbackMethod_RepositoryModelLoad<
        Base::WithCallbackMethod_RepositoryIndex<WithMetadata>>>;
using WithSettings =
    Base::WithCallbackMethod_LogSettings<Base::WithCallbackMethod_TraceSetting<WithRepository>>;
using WithSystemMemory = Base::WithCallbackMethod_SystemSharedMemoryUnregister<
    Base::WithCallbackMethod_SystemSharedMemoryRegister<
        Base::WithCallbackMethod_SystemSharedMemoryStatus<WithSettings>>>;
using WithCudaMemory = Base::WithCallbackMethod_CudaSharedMemoryUnregister<
    Base::WithCallbackMethod_CudaSharedMemoryRegister<
        Base::WithCallbackMethod_CudaSharedMemoryStatus<WithSystemMemory>>>;

Unary* Reply(Context* context, const Status& status) {
  AddRetryAdvice(*context, status);
  Unary* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

Unary* NoSharedMemory(Context* context) {
  return Reply(context, Unsupported("shared memory is not supported: send tensors in the request"));
}

// Every method forwards: inference to its reactors, the rest to grpc_control.
class InferenceService final : public WithCudaMemory {
 public:
  InferenceService(evenkeel::Service& service, OpenStreams& streams)
      : service_(service), streams_(streams) {}

  Unary* ModelInfer(Context* context, const grpc::ByteBuffer* request,
                    grpc::ByteBuffer* response) override {
    return StartModelInfer(service_, context, request, response);
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ModelStreamInfer(
      Context* context) override {
    return StartModelStreamInfer(service_, streams_, context);
  }

#define EK_RPC(Name)                                                     \
  Unary* Name(Context* context, const inference::Name##Request* request, \
              inference::Name##Response* response) override
#define EK_RPC_QUIET(Name)                                       \
  Unary* Name(Context* context, const inference::Name##Request*, \
              inference::Name##Response* response) override
#define EK_RPC_SHARED_MEMORY(Name)                                                           \
  Unary* Name(Context* context, const inference::Name##Request*, inference::Name##Response*) \
      override {                                                                             \
    return NoSharedMemory(context);                                                          \
  }

  EK_RPC_QUIET(ServerLive) {
    response->set_live(service_.Live());
    return Reply(context, Status::Ok());
  }
  EK_RPC_QUIET(ServerReady) {
    response->set_ready(!streams_.draining() && service_.Ready(nullptr));
    return Reply(context, Status::Ok());
  }
  EK_RPC_QUIET(ServerMetadata) {
    GetServerMetadata(response);
    return Reply(context, Status::Ok());
  }
  EK_RPC(ModelReady) { return Reply(context, GetModelReady(service_, *request, response)); }
  EK_RPC(ModelMetadata) { return Reply(context, GetModelMetadata(service_, *request, response)); }
  EK_RPC(ModelConfig) { return Reply(context, GetModelConfig(service_, *request, response)); }
  EK_RPC(ModelStatistics) {
    return Reply(context, GetModelStatistics(service_, *request, response));
  }
  EK_RPC(RepositoryIndex) {
    return Reply(context, GetRepositoryIndex(service_, *request, response));
  }
  Unary* RepositoryModelLoad(Context* context, const inference::RepositoryModelLoadRequest* request,
                             inference::RepositoryModelLoadResponse*) override {
    Unary* const reactor = context->DefaultReactor();
    LoadModel(service_, *request,
              [reactor](const Status& status) { reactor->Finish(ToGrpc(status)); });
    return reactor;
  }
  Unary* RepositoryModelUnload(Context* context,
                               const inference::RepositoryModelUnloadRequest* request,
                               inference::RepositoryModelUnloadResponse*) override {
    Unary* const reactor = context->DefaultReactor();
    UnloadModel(service_, *request,
                [reactor](const Status& status) { reactor->Finish(ToGrpc(status)); });
    return reactor;
  }
  EK_RPC(TraceSetting) { return Reply(context, ApplyTraceSettings(*request, response)); }
  EK_RPC(LogSettings) { return Reply(context, ApplyLogSettings(*request, response)); }

  EK_RPC_SHARED_MEMORY(SystemSharedMemoryStatus)
  EK_RPC_SHARED_MEMORY(SystemSharedMemoryRegister)
  EK_RPC_SHARED_MEMORY(SystemSharedMemoryUnregister)
  EK_RPC_SHARED_MEMORY(CudaSharedMemoryStatus)
  EK_RPC_SHARED_MEMORY(CudaSharedMemoryRegister)
  EK_RPC_SHARED_MEMORY(CudaSharedMemoryUnregister)

#undef EK_RPC
#undef EK_RPC_QUIET
#undef EK_RPC_SHARED_MEMORY

 private:
  evenkeel::Service& service_;
  OpenStreams& streams_;
};

// gRPC's own log goes where ours goes; its errors too are details of what callers report in words of their own.
void ForwardLog(gpr_log_func_args* args) { LogDebug("grpc: {}", args->message); }

void SetLimits(grpc::ServerBuilder& builder, const GrpcOptions& options) {
  constexpr int kSecond = 1000;
  const auto bytes = static_cast<int>(
      std::min<size_t>(options.max_message_bytes, std::numeric_limits<int>::max()));
  builder.SetMaxReceiveMessageSize(bytes);
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 * 1024);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10 * kSecond);
  // A port that is taken is an error, not a share of its connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Finds clients that vanished without a FIN, and disconnects those that ping us more than every 10 s.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60 * kSecond);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20 * kSecond);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10 * kSecond);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.SetResourceQuota(grpc::ResourceQuota("evenkeel").Resize(options.memory_bytes));
}

}  // namespace

// Order matters: the server goes first, then what its calls use.
struct KServeGrpc::Impl {
  explicit Impl(Service& service)
      : inference(service, streams), health(MakeHealthService(service, streams)) {}

  OpenStreams streams;
  InferenceService inference;
  std::unique_ptr<grpc::Service> health;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::once_flag shutdown;
};

Result<std::unique_ptr<KServeGrpc>> KServeGrpc::Start(Service& service,
                                                      const GrpcOptions& options) {
  static std::once_flag log_once;
  std::call_once(log_once, [] { gpr_set_log_function(ForwardLog); });
  auto impl = std::make_unique<Impl>(service);
  grpc::ServerBuilder builder;
  SetLimits(builder, options);
  const bool bare_ipv6 =
      options.address.find(':') != std::string::npos && options.address.front() != '[';
  const std::string where = bare_ipv6 ? fmt::format("[{}]:{}", options.address, options.port)
                                      : fmt::format("{}:{}", options.address, options.port);
  builder.AddListeningPort(where, grpc::InsecureServerCredentials(), &impl->port);
  builder.RegisterService(&impl->inference);
  builder.RegisterService(impl->health.get());
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return Conflict(
        "gRPC: cannot listen on {}: is the port in use, and the address one of this machine's?",
        where);
  }
  return std::unique_ptr<KServeGrpc>(new KServeGrpc(std::move(impl)));
}

KServeGrpc::KServeGrpc(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KServeGrpc::~KServeGrpc() { Shutdown(Duration::zero()); }

int KServeGrpc::port() const { return impl_->port; }
void KServeGrpc::Drain() { impl_->streams.Drain(); }

void KServeGrpc::Shutdown(Duration grace) {
  Drain();
  std::call_once(impl_->shutdown, [&] {
    impl_->server->Shutdown(std::chrono::system_clock::now() +
                            std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
  });
}

}  // namespace evenkeel
