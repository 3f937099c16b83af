#include "cluster/link/model_link.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <chrono>
#include <utility>

#include "cluster/link/infer_message.h"
#include "cluster/link/model_message.h"
#include "core/format.h"
#include "core/parse.h"
#include "proto/node.grpc.pb.h"

namespace evenkeel {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// Lists of many files with long names.
constexpr int kMostMessageBytes = 16 << 20;
// The other node reads all of a model that it never listed.
constexpr Duration kListTime = minutes(30);
constexpr Duration kReadTime = seconds(30);
constexpr Duration kAskTime = seconds(5);
// A node that hangs, or whose cable is cut, is noticed by this: a list alone may take long.
constexpr int kPingEveryMs = 6000;
constexpr int kPingTimeoutMs = 3000;
// What the model accepted is answered first.
constexpr Duration kUndeployTime = minutes(10);

Status FromGrpc(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK: return Status::Ok();
    case grpc::StatusCode::CANCELLED: return Cancelled("cancelled");
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return DeadlineExceeded("the other node did not answer in time");
    case grpc::StatusCode::UNAUTHENTICATED: return Unauthenticated("{}", status.error_message());
    case grpc::StatusCode::PERMISSION_DENIED: return PermissionDenied("{}", status.error_message());
    case grpc::StatusCode::UNIMPLEMENTED:
      return Unsupported("the other node's version knows nothing of models' files");
    default: return Unavailable("the other node: {}", status.error_message());
  }
}

}  // namespace

struct ModelLink::Impl {
  explicit Impl(const LinkClientOptions& options) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMostMessageBytes);
    const auto again = static_cast<int>(
        std::chrono::duration_cast<std::chrono::milliseconds>(options.connect_again).count());
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, again);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, again);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, again);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingEveryMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no bound: a list is silent
    if (options.credentials != nullptr) link::NodeCredentials::ExpectNode(options.node, &arguments);
    stub = node::v1::Models::NewStub(grpc::CreateCustomChannel(
        options.address,
        options.credentials != nullptr ? options.credentials->Client()
                                       : grpc::InsecureChannelCredentials(),
        arguments));
  }

  // `call(context)` makes the call.
  template <typename Call>
  Status Ask(Duration timeout, Call call) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
    {
      const std::lock_guard lock(mutex);
      if (stopped) return Cancelled("stopped");
      open.insert(&context);
    }
    const grpc::Status status = call(&context);
    const std::lock_guard lock(mutex);
    open.erase(&context);
    return stopped && !status.ok() ? Cancelled("stopped") : FromGrpc(status);
  }

  std::unique_ptr<node::v1::Models::Stub> stub;
  std::mutex mutex;  // guards what follows
  std::set<grpc::ClientContext*> open;
  bool stopped = false;
};

ModelLink::ModelLink(const LinkClientOptions& options)
    : node_(options.node), impl_(std::make_unique<Impl>(options)) {}

ModelLink::~ModelLink() { Stop(); }

void ModelLink::Stop() {
  const std::lock_guard lock(impl_->mutex);
  impl_->stopped = true;
  for (grpc::ClientContext* context : impl_->open) context->TryCancel();
}

Result<ModelListing> ModelLink::List(const std::string& model) {
  node::v1::ListModelRequest request;
  node::v1::ListModelResponse response;
  request.set_name(model);
  EK_RETURN_IF_ERROR(impl_->Ask(kListTime, [&](grpc::ClientContext* context) {
    return impl_->stub->List(context, request, &response);
  }));
  EK_RETURN_IF_ERROR(ReadOutcome(response.outcome()));
  return ReadListing(response);
}

Result<std::string> ModelLink::Read(const FilePiece& piece) {
  node::v1::ReadFileRequest request;
  node::v1::ReadFileResponse response;
  WritePiece(piece, &request);
  EK_RETURN_IF_ERROR(impl_->Ask(kReadTime, [&](grpc::ClientContext* context) {
    return impl_->stub->ReadFile(context, request, &response);
  }));
  EK_RETURN_IF_ERROR(ReadOutcome(response.outcome()));
  return std::move(*response.mutable_data());
}

Status ModelLink::Deploy(const DeployOrder& order) {
  node::v1::DeployRequest request;
  node::v1::DeployResponse response;
  WriteOrder(order, &request);
  EK_RETURN_IF_ERROR(impl_->Ask(kAskTime, [&](grpc::ClientContext* context) {
    return impl_->stub->Deploy(context, request, &response);
  }));
  return ReadOutcome(response.outcome());
}

Result<DeployProgress> ModelLink::Progress(const std::string& model, const std::string& digest) {
  node::v1::ProgressRequest request;
  node::v1::ProgressResponse response;
  request.set_model(model);
  request.set_sha256(DigestBytes(digest));
  EK_RETURN_IF_ERROR(impl_->Ask(kAskTime, [&](grpc::ClientContext* context) {
    return impl_->stub->Progress(context, request, &response);
  }));
  return ReadProgress(response);
}

Status ModelLink::Undeploy(const UndeployOrder& order) {
  node::v1::UndeployRequest request;
  node::v1::UndeployResponse response;
  WriteUndeploy(order, &request);
  EK_RETURN_IF_ERROR(impl_->Ask(kUndeployTime, [&](grpc::ClientContext* context) {
    return impl_->stub->Undeploy(context, request, &response);
  }));
  return ReadOutcome(response.outcome());
}

}  // namespace evenkeel
