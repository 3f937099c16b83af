#include "cluster/link/link_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "cluster/link/caller_gate.h"
#include "cluster/link/figures_message.h"
#include "cluster/link/forwarded_calls.h"
#include "cluster/link/forwarded_embedding.h"
#include "cluster/link/forwarded_state.h"
#include "cluster/link/generation_message.h"
#include "cluster/link/grpc_door.h"
#include "cluster/link/infer_message.h"
#include "cluster/link/model_service.h"
#include "core/format.h"
#include "proto/node.grpc.pb.h"

namespace evenkeel {
namespace {

using link::ToGrpc;

template <typename Event>
class RefusedStream final : public grpc::ServerWriteReactor<Event> {
 public:
  explicit RefusedStream(const Status& status) { this->Finish(ToGrpc(status)); }

 private:
  void OnDone() override { delete this; }
};

// Every method begins with the gate: link_test calls each as a node that is not on the list.
class NodeService final : public node::v1::Node::CallbackService {
 public:
  NodeService(NodeHost& host, const Clock& clock, link::CallerGate gate)
      : host_(host), clock_(clock), gate_(std::move(gate)) {}

  grpc::ServerUnaryReactor* Tell(grpc::CallbackServerContext* context,
                                 const node::v1::Figures* request,
                                 node::v1::Figures* response) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    auto* reactor = context->DefaultReactor();
    auto theirs = ReadFigures(*request);
    if (theirs.ok()) {
      if (const Status own = CheckCaller(*context, theirs->node); !own.ok()) theirs = own;
    }
    if (!theirs.ok()) {
      reactor->Finish(ToGrpc(theirs.status()));
      return reactor;
    }
    host_.OnFigures(*theirs);
    WriteFigures(host_.FiguresFor(*theirs), response);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* SetState(grpc::CallbackServerContext* context,
                                     const node::v1::StateRequest* request,
                                     node::v1::StateResponse* response) override {
    if (auto* const refused = gate_.RefuseChange(context)) return refused;
    auto* reactor = context->DefaultReactor();
    WriteOutcome(host_.SetOwnState(request->state()), response->mutable_outcome());
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context,
                                    const node::v1::PublishRequest* request,
                                    node::v1::PublishResponse* response) override {
    if (auto* const refused = gate_.RefuseChange(context)) return refused;
    auto* reactor = context->DefaultReactor();
    host_.PublishPlan(request->plan(), [reactor, response](const Result<PlanStamp>& stored) {
      WriteOutcome(stored.status(), response->mutable_outcome());
      if (stored.ok()) {
        response->set_history(stored->term.history);
        response->set_term(stored->term.revision);
        response->set_revision(stored->revision);
      }
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const node::v1::RenewRequest* request,
                                  node::v1::RenewResponse* response) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    auto* reactor = context->DefaultReactor();
    auto chain = gate_.CallerOf(*context);
    if (chain.ok()) chain = host_.Renew(*chain, request->request_pem());
    WriteOutcome(chain.status(), response->mutable_outcome());
    if (chain.ok()) response->set_chain_pem(*std::move(chain));
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* Probe(grpc::CallbackServerContext* context,
                                  const node::v1::ProbeRequest* /*request*/,
                                  node::v1::ProbeResponse* /*response*/) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const node::v1::DescribeRequest* request,
                                     node::v1::ModelDescription* response) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    auto* reactor = context->DefaultReactor();
    response->set_name(request->model());
    if (const auto model = host_.FindOwn(request->model(), request->version()); model.ok()) {
      response->set_version((*model)->version());
      WriteSignature((*model)->signature(), response);
      reactor->Finish(grpc::Status::OK);
      return reactor;
    }
    const auto language = host_.FindOwnLanguage(request->model());
    if (language.ok()) WriteLanguage((*language)->Info(), response->mutable_language());
    reactor->Finish(language.ok() ? grpc::Status::OK : ToGrpc(language.status()));
    return reactor;
  }

  grpc::ServerUnaryReactor* Infer(grpc::CallbackServerContext* context,
                                  const node::v1::InferRequest* request,
                                  node::v1::InferResponse* response) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    return new ForwardedInfer(host_, clock_, *request, response);
  }

  grpc::ServerWriteReactor<node::v1::GenerateEvent>* Generate(
      grpc::CallbackServerContext* context, const node::v1::GenerateRequest* request) override {
    if (const Status checked = gate_.Check(*context); !checked.ok())
      return new RefusedStream<node::v1::GenerateEvent>(checked);
    return new ForwardedGeneration(host_, clock_, *request);
  }

  grpc::ServerWriteReactor<node::v1::StateEvent>* ReadState(
      grpc::CallbackServerContext* context, const node::v1::ReadStateRequest* request) override {
    if (const Status checked = gate_.Check(*context); !checked.ok())
      return new RefusedStream<node::v1::StateEvent>(checked);
    return new ForwardedState(host_, *request);
  }

  grpc::ServerUnaryReactor* TakeState(grpc::CallbackServerContext* context,
                                      const node::v1::TakeStateRequest* request,
                                      node::v1::TakeStateResponse* response) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    auto* reactor = context->DefaultReactor();
    const auto answer = [reactor, response](const Result<StateTaken>& taken) {
      WriteStateTaken(taken, response);
      reactor->Finish(grpc::Status::OK);
    };
    auto order = ReadStateOrder(*request);
    if (order.ok()) {
      host_.TakeState(*std::move(order), answer);
    } else {
      answer(order.status());
    }
    return reactor;
  }

  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context,
                                  const node::v1::EmbedRequest* request,
                                  node::v1::EmbedResponse* response) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    return new ForwardedEmbed(host_, clock_, *request, response);
  }

  grpc::ServerUnaryReactor* Rank(grpc::CallbackServerContext* context,
                                 const node::v1::RankRequest* request,
                                 node::v1::RankResponse* response) override {
    if (auto* const refused = gate_.Refuse(context)) return refused;
    return new ForwardedRank(host_, clock_, *request, response);
  }

 private:
  // Nobody tells another node's figures.
  Status CheckCaller(const grpc::CallbackServerContext& context, const std::string& node) const {
    if (gate_.open()) return Status::Ok();
    const auto caller = gate_.CallerOf(context);
    if (!caller.ok()) return caller.status();
    if (*caller != node)
      return PermissionDenied("figures of node '{}', told by node '{}'", node, *caller);
    return Status::Ok();
  }

  NodeHost& host_;
  const Clock& clock_;
  const link::CallerGate gate_;
};

}  // namespace

void NodeHost::PublishPlan(std::string /*plan*/, std::function<void(Result<PlanStamp>)> done) {
  done(Unsupported("this node has no store, which a plan is kept in"));
}

Result<std::string> NodeHost::Renew(const std::string& /*caller*/,
                                    const std::string& /*request_pem*/) {
  return NotFound("this node does not hold the cluster's authority");
}

void NodeHost::ReadState(StateRequest /*request*/, std::function<void(Result<BoundState>)> done) {
  done(Unsupported("this node sends no states"));
}

void NodeHost::TakeState(StateOrder /*order*/, std::function<void(Result<StateTaken>)> done) {
  done(Unsupported("this node takes no states"));
}

struct LinkServer::Impl {
  Impl(NodeHost& host, const Clock& clock, const link::CallerGate& gate)
      : service(host, clock, gate) {}
  NodeService service;
  std::unique_ptr<grpc::Service> models;  // null: none are given
  std::unique_ptr<link::GrpcDoor> door;   // null: gRPC listens itself
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

LinkServer::LinkServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

LinkServer::~LinkServer() {
  impl_->door.reset();
  impl_->server->Shutdown(std::chrono::system_clock::now());
  impl_->server->Wait();
}

int LinkServer::port() const { return impl_->port; }

Result<std::unique_ptr<LinkServer>> LinkServer::Start(NodeHost& host, const Clock& clock,
                                                      const LinkServerOptions& options) {
  const link::CallerGate caller(host, options.credentials, options.peers);
  auto impl = std::make_unique<Impl>(host, clock, caller);
  grpc::ServerBuilder builder;
  if (options.credentials != nullptr) {
    link::HelloGateOptions gate;
    gate.address = options.address;
    gate.port = static_cast<uint16_t>(options.port);
    auto door = link::GrpcDoor::Attach(builder, *options.credentials, gate, *options.loop);
    if (!door.ok()) return door.status();
    impl->door = std::move(*door);
    impl->port = impl->door->port();
  } else {
    const bool v6 = options.address.find(':') != std::string::npos;
    builder.AddListeningPort(v6 ? fmt::format("[{}]:{}", options.address, options.port)
                                : fmt::format("{}:{}", options.address, options.port),
                             grpc::InsecureServerCredentials(), &impl->port);
  }
  builder.RegisterService(&impl->service);
  if (options.models != nullptr) {
    impl->models = link::MakeModelService(*options.models, caller);
    builder.RegisterService(impl->models.get());
  }
  const auto most = static_cast<int>(
      std::min<size_t>(options.max_message_bytes, std::numeric_limits<int>::max()));
  builder.SetMaxReceiveMessageSize(most);
  builder.SetMaxSendMessageSize(most);
  // gRPC unfolds a message whole before it measures it, and no node sends folded ones.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // Whoever begins to speak TLS holds a connection until then.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // A second server on the port must fail, not share it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  impl->server = builder.BuildAndStart();
  if (!impl->server || impl->port == 0)
    return Conflict("can't listen on {} port {} for other nodes", options.address, options.port);
  if (impl->door) impl->door->Open();
  return std::unique_ptr<LinkServer>(new LinkServer(std::move(impl)));
}

}  // namespace evenkeel
