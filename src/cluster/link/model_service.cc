#include "cluster/link/model_service.h"

#include <grpcpp/support/server_callback.h>

#include <string>
#include <utility>

#include "cluster/link/infer_message.h"
#include "cluster/link/model_message.h"
#include "proto/node.grpc.pb.h"

namespace evenkeel::link {
namespace {

class ModelService final : public node::v1::Models::CallbackService {
 public:
  ModelService(ModelHost& host, CallerGate gate) : host_(host), gate_(std::move(gate)) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const node::v1::ListModelRequest* request,
                                 node::v1::ListModelResponse* response) override {
    if (auto* const refused = gate_.RefuseChange(context)) return refused;
    auto* reactor = context->DefaultReactor();
    host_.ListModel(request->name(), [reactor, response](const Result<ModelListing>& listing) {
      WriteOutcome(listing.status(), response->mutable_outcome());
      if (listing.ok()) WriteListing(*listing, response);
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* ReadFile(grpc::CallbackServerContext* context,
                                     const node::v1::ReadFileRequest* request,
                                     node::v1::ReadFileResponse* response) override {
    if (auto* const refused = gate_.RefuseChange(context)) return refused;
    auto* reactor = context->DefaultReactor();
    host_.ReadPiece(evenkeel::ReadPiece(*request), [reactor, response](Result<std::string> bytes) {
      WriteOutcome(bytes.status(), response->mutable_outcome());
      if (bytes.ok()) response->set_data(*std::move(bytes));
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* Deploy(grpc::CallbackServerContext* context,
                                   const node::v1::DeployRequest* request,
                                   node::v1::DeployResponse* response) override {
    if (auto* const refused = gate_.RefuseChange(context)) return refused;
    auto* reactor = context->DefaultReactor();
    const auto order = ReadOrder(*request);
    WriteOutcome(order.ok() ? host_.Deploy(*order) : order.status(), response->mutable_outcome());
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* Progress(grpc::CallbackServerContext* context,
                                     const node::v1::ProgressRequest* request,
                                     node::v1::ProgressResponse* response) override {
    if (auto* const refused = gate_.RefuseChange(context)) return refused;
    auto* reactor = context->DefaultReactor();
    WriteProgress(host_.Progress(request->model(), DigestDigits(request->sha256())), response);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* Undeploy(grpc::CallbackServerContext* context,
                                     const node::v1::UndeployRequest* request,
                                     node::v1::UndeployResponse* response) override {
    if (auto* const refused = gate_.RefuseChange(context)) return refused;
    auto* reactor = context->DefaultReactor();
    const auto finish = [reactor, response](const Status& status) {
      WriteOutcome(status, response->mutable_outcome());
      reactor->Finish(grpc::Status::OK);
    };
    auto order = ReadUndeploy(*request);
    order.ok() ? host_.Undeploy(*std::move(order), finish) : finish(order.status());
    return reactor;
  }

 private:
  ModelHost& host_;
  const CallerGate gate_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeModelService(ModelHost& host, CallerGate gate) {
  return std::make_unique<ModelService>(host, std::move(gate));
}

}  // namespace evenkeel::link
