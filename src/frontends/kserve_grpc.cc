#include "frontends/kserve_grpc.h"

#include <absl/synchronization/mutex.h>
#include <grpc/support/log.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "access/authorizer.h"
#include "core/format.h"
#include "core/log.h"
#include "frontends/connection_door.h"
#include "frontends/grpc_queue.h"
#include "frontends/grpc_stream_infer.h"
#include "frontends/service.h"

namespace evenkeel {
namespace {

// gRPC's own log goes where ours goes; its errors too are details of what callers report in words of their own.
void ForwardLog(gpr_log_func_args* args) { LogDebug("grpc: {}", args->message); }

void SetLimits(grpc::ServerBuilder& builder, const GrpcOptions& options) {
  constexpr int kSecond = 1000;
  const auto bytes = static_cast<int>(
      std::min<size_t>(options.max_message_bytes, std::numeric_limits<int>::max()));
  builder.SetMaxReceiveMessageSize(bytes);
  builder.SetMaxSendMessageSize(-1);
  // A message is measured only after gRPC has unfolded all of it: 64 MiB may become 64 GiB. RequestSlices unfolds instead.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
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
  // What every call would pay for and nobody here uses: compressed answers, counters for channelz, bandwidth estimation by pings.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // Without the estimate the flow-control window is fixed: wide enough that a tensor of a megabyte does not wait for it.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4 << 20);
  builder.SetResourceQuota(grpc::ResourceQuota("evenkeel").Resize(options.memory_bytes));
}

int ThreadsFor(const GrpcOptions& options) {
  if (options.threads > 0) return options.threads;
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 8, 1, 4);
}

std::shared_ptr<grpc::ServerCredentials> CredentialsOf(const TlsPairFiles& files) {
  constexpr unsigned int kLookEverySeconds = 2;
  if (files.empty()) return grpc::InsecureServerCredentials();
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          files.key, files.certificate, kLookEverySeconds));
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return grpc::experimental::TlsServerCredentials(options);
}

using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

// Has gRPC serve what the door lets in.
void OpenDoor(ConnectionDoor& door, std::shared_ptr<Acceptor> acceptor) {
  door.Open([acceptor = std::move(acceptor)](int fd) {
    Acceptor::NewConnectionParameters connection;
    connection.fd = fd;
    acceptor->HandleNewConnection(&connection);
  });
}

void SetProcessDefaults() {
  gpr_set_log_function(ForwardLog);
  // Debian builds abseil with its search for lock cycles switched on: a twentieth of a request's time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

Status CannotListen(const std::string& where) {
  return Conflict(
      "gRPC: cannot listen on {}: is the port in use, and the address one of this machine's?",
      where);
}

// Calls that gRPC may match at once while the queue's thread is busy.
constexpr int kWaitingInferCalls = 64;
constexpr int kWaitingOtherCalls = 4;

}  // namespace

// Order matters: the server goes first, then the queues, then what calls use.
struct KServeGrpc::Impl {
  Impl(Service& service, const Authorizer& authorizer, size_t max_message_bytes)
      : front{service, authorizer, streams, {}, {}, max_message_bytes} {}

  OpenStreams streams;
  GrpcFront front;
  std::vector<std::unique_ptr<CallQueue>> queues;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::once_flag shutdown;
  std::unique_ptr<ConnectionDoor> door;  // null: gRPC listens itself. Goes before the server
};

Result<std::unique_ptr<KServeGrpc>> KServeGrpc::Start(Service& service,
                                                      const Authorizer& authorizer,
                                                      const GrpcOptions& options) {
  static std::once_flag once;
  std::call_once(once, SetProcessDefaults);
  auto impl = std::make_unique<Impl>(service, authorizer, options.max_message_bytes);
  impl->front.keyless_patience = options.keyless_patience;
  if (!options.tls.empty()) {
    if (const Result<TlsPair> pair = ReadTlsPair(options.tls); !pair.ok())
      return pair.status().Annotate("TLS");
  }
  grpc::ServerBuilder builder;
  SetLimits(builder, options);
  const bool bare_ipv6 =
      options.address.find(':') != std::string::npos && options.address.front() != '[';
  const std::string where = bare_ipv6 ? fmt::format("[{}]:{}", options.address, options.port)
                                      : fmt::format("{}:{}", options.address, options.port);
  std::shared_ptr<Acceptor> acceptor;
  if (IsNumericAddress(options.address)) {
    auto door = ConnectionDoor::Listen(options.address, options.port, options.max_connections);
    if (!door.ok()) return CannotListen(where);
    impl->door = std::move(*door);
    impl->port = impl->door->port();
    acceptor = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        CredentialsOf(options.tls));
  } else {
    builder.AddListeningPort(where, CredentialsOf(options.tls), &impl->port);
  }
  const bool keys = authorizer.required();
  if (!keys) builder.RegisterService(&impl->front.infer);
  builder.RegisterAsyncGenericService(&impl->front.generic);
  for (int i = 0; i < ThreadsFor(options); ++i)
    impl->queues.push_back(std::make_unique<CallQueue>(builder.AddCompletionQueue()));
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    for (const auto& queue : impl->queues) queue->Abandon();
    return CannotListen(where);
  }
  for (const auto& queue : impl->queues) {
    for (int i = 0; !keys && i < kWaitingInferCalls; ++i) AcceptModelInfer(impl->front, *queue);
    const int others = keys ? kWaitingInferCalls : kWaitingOtherCalls;
    for (int i = 0; i < others; ++i) ByteStream::Accept(impl->front, *queue);
    queue->Start();
  }
  if (impl->door != nullptr) OpenDoor(*impl->door, std::move(acceptor));
  return std::unique_ptr<KServeGrpc>(new KServeGrpc(std::move(impl)));
}

KServeGrpc::KServeGrpc(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KServeGrpc::~KServeGrpc() { Shutdown(Duration::zero()); }

int KServeGrpc::port() const { return impl_->port; }
void KServeGrpc::Drain() { impl_->streams.Drain(); }

void KServeGrpc::Shutdown(Duration grace) {
  Drain();
  std::call_once(impl_->shutdown, [&] {
    impl_->door.reset();
    impl_->server->Shutdown(std::chrono::system_clock::now() +
                            std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
    for (const auto& queue : impl_->queues) queue->Stop();
  });
}

}  // namespace evenkeel
