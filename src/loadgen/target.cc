#include "loadgen/target.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "core/format.h"
#include "loadgen/grpc_answer.h"
#include "loadgen/grpc_credentials.h"
#include "loadgen/http_fetch.h"
#include "net/http_client.h"
#include "proto/grpc_service.pb.h"

namespace evenkeel::loadgen {
namespace {

constexpr Duration kSetUpTimeout = std::chrono::seconds(30);

std::shared_ptr<grpc::Channel> OpenChannel(const Url& url) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(url.Authority(), CredentialsFor(url), arguments);
}

// One unary call with bytes in and out.
grpc::Status CallOnce(grpc::GenericStub* stub, const LoadPlan& plan, const std::string& method,
                      const std::string& message, grpc::ByteBuffer* answer) {
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  if (!plan.bearer.empty()) context.AddMetadata("authorization", "Bearer " + plan.bearer);
  context.set_deadline(std::chrono::system_clock::now() + kSetUpTimeout);
  const grpc::Slice slice(message.data(), message.size(), grpc::Slice::STATIC_SLICE);
  const auto reader = stub->PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  grpc::Status status;
  int tag = 0;
  reader->StartCall();
  reader->Finish(answer, &status, &tag);
  void* got = nullptr;
  bool ok = false;
  queue.Next(&got, &ok);
  queue.Shutdown();
  while (queue.Next(&got, &ok)) {
  }
  return status;
}

Status FromGrpc(const grpc::Status& status, const Url& url) {
  switch (status.error_code()) {
    case grpc::StatusCode::NOT_FOUND: return NotFound("{}", status.error_message());
    case grpc::StatusCode::UNAUTHENTICATED: return Unauthenticated("{}", status.error_message());
    case grpc::StatusCode::PERMISSION_DENIED: return PermissionDenied("{}", status.error_message());
    case grpc::StatusCode::UNAVAILABLE:
      return Unavailable("{}: {}", url.Authority(), status.error_message());
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return DeadlineExceeded("{}: {}", url.Authority(), status.error_message());
    default: return InvalidArgument("{}: {}", url.Authority(), status.error_message());
  }
}

template <typename Tensors>
Status ReadSpecs(const Tensors& tensors, std::vector<TensorSpec>* specs) {
  for (const auto& tensor : tensors) {
    TensorSpec spec;
    spec.name = tensor.name();
    spec.dtype = DataTypeFromName(tensor.datatype());
    if (spec.dtype == DataType::kInvalid || tensor.shape_size() > kMaxRank) {
      return InvalidArgument("metadata: '{}' has datatype '{}' and {} axes", spec.name,
                             tensor.datatype(), tensor.shape_size());
    }
    for (const int64_t d : tensor.shape()) spec.shape.push_back(d);
    specs->push_back(std::move(spec));
  }
  return Status::Ok();
}

Result<ModelInfo> FetchGrpc(const LoadPlan& plan, const std::string& model) {
  inference::ModelMetadataRequest request;
  request.set_name(model);
  grpc::GenericStub stub(OpenChannel(plan.url));
  grpc::ByteBuffer answer;
  const grpc::Status status = CallOnce(&stub, plan, "/inference.GRPCInferenceService/ModelMetadata",
                                       request.SerializeAsString(), &answer);
  if (!status.ok()) return FromGrpc(status, plan.url);
  inference::ModelMetadataResponse response;
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (answer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices)
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  if (!response.ParseFromString(bytes))
    return InvalidArgument("{}: the metadata of '{}' does not parse", plan.url.Authority(), model);
  ModelInfo info;
  info.name = model;
  EK_RETURN_IF_ERROR(ReadSpecs(response.inputs(), &info.inputs));
  EK_RETURN_IF_ERROR(ReadSpecs(response.outputs(), &info.outputs));
  if (info.inputs.empty())
    return InvalidArgument("model '{}' has no inputs in its metadata", model);
  return info;
}

Status RefusedReference(const PreparedModel& model, size_t input, const std::string& how) {
  return InvalidArgument("model '{}' does not answer input {}, so answers cannot be checked: {}",
                         model.name, input, how);
}

}  // namespace

Result<std::string> FetchBody(const LoadPlan& plan, const std::string& path) {
  const Url& url = plan.url;
  HttpCall call;
  call.bearer = plan.bearer;
  call.server = (url.tls() ? "https://" : "http://") + url.Authority();
  call.ca_file = url.ca_file;
  call.target = (url.path == "/" ? "" : url.path) + path;
  call.timeout = kSetUpTimeout;
  Result<evenkeel::HttpAnswer> answer = CallHttp(call);
  if (!answer.ok()) return answer.status();
  if (answer->status == 200) return std::move(answer->body);
  const std::string message =
      fmt::format("GET {}: {} {}", path, answer->status, answer->body.substr(0, 300));
  switch (answer->status) {
    case 400:
    case 404: return Status(Code::kNotFound, message);
    case 401: return Status(Code::kUnauthenticated, message);
    case 403: return Status(Code::kPermissionDenied, message);
    default: return Status(Code::kUnavailable, message);
  }
}

Result<ModelInfo> FetchModelInfo(const LoadPlan& plan, const std::string& model) {
  if (plan.protocol == WireProtocol::kGrpc) return FetchGrpc(plan, model);
  Result<std::string> body = FetchBody(plan, "/v2/models/" + EscapePathPart(model));
  if (!body.ok()) return body.status();
  Result<ModelInfo> info = ParseModelInfo(*body);
  if (!info.ok()) return info;
  // Only our server has this page; others answer 404 and random ids stay small.
  Result<std::string> description = FetchBody(plan, "/v2/evenkeel/models/" + EscapePathPart(model));
  if (description.ok()) AddRanges(*description, &*info);
  return info;
}

Status CollectReferences(LoadPlan* plan) {
  std::unique_ptr<grpc::GenericStub> stub;
  if (plan->protocol == WireProtocol::kGrpc)
    stub = std::make_unique<grpc::GenericStub>(OpenChannel(plan->url));
  for (PreparedModel& model : plan->models) {
    for (size_t i = 0; i < model.requests.size(); ++i) {
      PreparedRequest& request = model.requests[i];
      if (stub) {
        grpc::ByteBuffer answer;
        const grpc::Status status =
            CallOnce(stub.get(), *plan, plan->grpc_method, request.bytes, &answer);
        if (!status.ok()) return RefusedReference(model, i, status.error_message());
        request.reference = OutputBytes(answer);
        request.floats_from = 0;
      } else {
        Result<HttpAnswer> answer = Exchange(plan->url, request.bytes, kSetUpTimeout);
        if (!answer.ok()) return answer.status();
        if (answer->status / 100 != 2)
          return RefusedReference(
              model, i, fmt::format("{} {}", answer->status, answer->body.substr(0, 300)));
        request.reference = answer->body;
        if (answer->json_length >= 0)
          request.floats_from = static_cast<size_t>(answer->json_length);
      }
    }
  }
  return Status::Ok();
}

}  // namespace evenkeel::loadgen
