#include "cluster/link/link_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cluster/callback_threads.h"
#include "cluster/link/figures_message.h"
#include "cluster/link/generation_message.h"
#include "cluster/link/infer_message.h"
#include "core/format.h"
#include "proto/node.grpc.pb.h"

namespace evenkeel {
namespace {

// What a call to another node ended with where its answer says nothing itself.
Status FromGrpc(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK: return Status::Ok();
    case grpc::StatusCode::CANCELLED: return Cancelled("cancelled");
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return DeadlineExceeded("the other node did not answer in time");
    case grpc::StatusCode::INVALID_ARGUMENT: return InvalidArgument("{}", status.error_message());
    case grpc::StatusCode::UNAUTHENTICATED: return Unauthenticated("{}", status.error_message());
    case grpc::StatusCode::PERMISSION_DENIED: return PermissionDenied("{}", status.error_message());
    case grpc::StatusCode::NOT_FOUND: return NotFound("{}", status.error_message());
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return TooLarge("{}", status.error_message());
    default: return Unavailable("the other node: {}", status.error_message());
  }
}

}  // namespace

// A call of any kind, from its start to its callback.
class LinkCall : public LinkClient::Running {
 public:
  void Cancel() override { context_.TryCancel(); }
  void GiveUp() override {
    given_up_.store(true, std::memory_order_relaxed);
    context_.TryCancel();
  }
  // Whether an end of gRPC's own making means that the link, or the node behind it, failed.
  bool LinkFailed(const grpc::Status& status) const {
    if (given_up_.load(std::memory_order_relaxed)) return true;
    switch (status.error_code()) {
      case grpc::StatusCode::UNAVAILABLE:
      case grpc::StatusCode::UNKNOWN:
      case grpc::StatusCode::INTERNAL:
      case grpc::StatusCode::ABORTED: return true;
      default: return false;
    }
  }

 protected:
  grpc::ClientContext context_;

 private:
  std::atomic<bool> given_up_{false};
};

struct LinkClient::Impl {
  explicit Impl(const LinkClientOptions& options) {
    KeepCallbackThreads();
    grpc::ChannelArguments arguments;
    const auto most = static_cast<int>(
        std::min<size_t>(options.max_message_bytes, std::numeric_limits<int>::max()));
    arguments.SetMaxReceiveMessageSize(most);
    arguments.SetMaxSendMessageSize(most);
    const auto again = static_cast<int>(
        std::chrono::duration_cast<std::chrono::milliseconds>(options.connect_again).count());
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, again);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, again);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, again);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // Names and proxies have no say in where the nodes of a cluster are.
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    if (options.credentials != nullptr) link::NodeCredentials::ExpectNode(options.node, &arguments);
    channel = grpc::CreateCustomChannel(options.address,
                                        options.credentials != nullptr
                                            ? options.credentials->Client()
                                            : grpc::InsecureChannelCredentials(),
                                        arguments);
    stub = node::v1::Node::NewStub(channel);
  }

  void Add(const std::shared_ptr<LinkCall>& call) {
    const std::lock_guard lock(mutex);
    open.emplace(call.get(), call);
  }
  void Remove(LinkCall* call) {
    const std::lock_guard lock(mutex);
    open.erase(call);
    if (open.empty()) empty.notify_all();
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<node::v1::Node::Stub> stub;
  std::mutex mutex;  // guards what follows
  std::condition_variable empty;
  std::unordered_map<LinkCall*, std::weak_ptr<LinkCall>> open;
};

namespace {

std::chrono::system_clock::time_point In(Duration timeout) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout);
}

template <typename Request, typename Response>
struct UnaryCall final : LinkCall {
  grpc::ClientContext& context() { return context_; }
  Request request;
  Response response;
};

using TellCall = UnaryCall<node::v1::Figures, node::v1::Figures>;
using StateCall = UnaryCall<node::v1::StateRequest, node::v1::StateResponse>;
using PublishCall = UnaryCall<node::v1::PublishRequest, node::v1::PublishResponse>;
using RenewCall = UnaryCall<node::v1::RenewRequest, node::v1::RenewResponse>;
using ProbeCall = UnaryCall<node::v1::ProbeRequest, node::v1::ProbeResponse>;
using DescribeCall = UnaryCall<node::v1::DescribeRequest, node::v1::ModelDescription>;
using InferUnary = UnaryCall<node::v1::InferRequest, node::v1::InferResponse>;
using EmbedUnary = UnaryCall<node::v1::EmbedRequest, node::v1::EmbedResponse>;
using RankUnary = UnaryCall<node::v1::RankRequest, node::v1::RankResponse>;
using TakeStateCall = UnaryCall<node::v1::TakeStateRequest, node::v1::TakeStateResponse>;
// The other node keeps to a call's deadline; so much later the link gives it up, where it does not answer at all.
constexpr Duration kSlack = std::chrono::seconds(1);

Result<DescribedModel> ReadDescription(const node::v1::ModelDescription& message) {
  DescribedModel model;
  model.name = message.name();
  model.version = message.version();
  model.language = message.has_language();
  if (model.language) {
    model.info = ReadLanguage(message.name(), message.language());
    return model;
  }
  auto signature = ReadSignature(message);
  if (!signature.ok()) return signature.status();
  model.signature = std::move(*signature);
  return model;
}

}  // namespace

LinkClient::LinkClient(const LinkClientOptions& options) : impl_(std::make_shared<Impl>(options)) {}

LinkClient::~LinkClient() { Close(); }

void LinkClient::Close() {
  GiveUpAll();
  std::unique_lock lock(impl_->mutex);
  impl_->empty.wait(lock, [this] { return impl_->open.empty(); });
}

void LinkClient::GiveUpAll() {
  std::vector<std::shared_ptr<LinkCall>> calls;
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& [_, weak] : impl_->open) {
      if (auto call = weak.lock()) calls.push_back(std::move(call));
    }
  }
  // Without the mutex: a callback may run inside.
  for (const auto& call : calls) call->GiveUp();
}

void LinkClient::Tell(const NodeFigures& own, Duration timeout,
                      std::function<void(Result<NodeFigures>)> told) {
  auto call = std::make_shared<TellCall>();
  WriteFigures(own, &call->request);
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  // The owner waits in the destructor until Remove(): `impl` outlives the callback all the same.
  impl_->stub->async()->Tell(
      &call->context(), &call->request, &call->response,
      [impl = impl_, call, told = std::move(told)](const grpc::Status& status) {
        told(status.ok() ? ReadFigures(call->response) : Result<NodeFigures>(FromGrpc(status)));
        impl->Remove(call.get());
      });
}

bool LinkClient::connected() const {
  return impl_->channel->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY;
}

void LinkClient::SetState(std::string_view state, Duration timeout,
                          std::function<void(Status)> done) {
  auto call = std::make_shared<StateCall>();
  call->request.set_state(std::string(state));
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  impl_->stub->async()->SetState(
      &call->context(), &call->request, &call->response,
      [impl = impl_, call, done = std::move(done)](const grpc::Status& status) {
        done(status.ok() ? ReadOutcome(call->response.outcome()) : FromGrpc(status));
        impl->Remove(call.get());
      });
}

void LinkClient::Publish(const std::string& plan, Duration timeout,
                         std::function<void(Result<PlanStamp>)> done) {
  auto call = std::make_shared<PublishCall>();
  call->request.set_plan(plan);
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  impl_->stub->async()->Publish(
      &call->context(), &call->request, &call->response,
      [impl = impl_, call, done = std::move(done)](const grpc::Status& status) {
        const node::v1::PublishResponse& told = call->response;
        const Status outcome = status.ok() ? ReadOutcome(told.outcome()) : FromGrpc(status);
        const PlanStamp stamp{{told.history(), told.term()}, told.revision()};
        done(outcome.ok() ? Result<PlanStamp>(stamp) : Result<PlanStamp>(outcome));
        impl->Remove(call.get());
      });
}

void LinkClient::Renew(const std::string& request_pem, Duration timeout,
                       std::function<void(Result<std::string>)> done) {
  auto call = std::make_shared<RenewCall>();
  call->request.set_request_pem(request_pem);
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  impl_->stub->async()->Renew(
      &call->context(), &call->request, &call->response,
      [impl = impl_, call, done = std::move(done)](const grpc::Status& status) {
        const Status outcome =
            status.ok() ? ReadOutcome(call->response.outcome()) : FromGrpc(status);
        done(outcome.ok() ? Result<std::string>(call->response.chain_pem())
                          : Result<std::string>(outcome));
        impl->Remove(call.get());
      });
}

void LinkClient::Probe(size_t bytes, Duration timeout, std::function<void(Result<Duration>)> done) {
  auto call = std::make_shared<ProbeCall>();
  call->request.set_payload(std::string(bytes, '\x5a'));
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  const auto begin = std::chrono::steady_clock::now();
  impl_->stub->async()->Probe(
      &call->context(), &call->request, &call->response,
      [impl = impl_, call, begin, done = std::move(done)](const grpc::Status& status) {
        const Duration took = std::chrono::steady_clock::now() - begin;
        done(status.ok() ? Result<Duration>(took) : Result<Duration>(FromGrpc(status)));
        impl->Remove(call.get());
      });
}

void LinkClient::Describe(std::string_view model, std::string_view version, Duration timeout,
                          std::function<void(Result<DescribedModel>)> told) {
  auto call = std::make_shared<DescribeCall>();
  call->request.set_model(std::string(model));
  call->request.set_version(std::string(version));
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  impl_->stub->async()->Describe(
      &call->context(), &call->request, &call->response,
      [impl = impl_, call, told = std::move(told)](const grpc::Status& status) {
        told(status.ok() ? ReadDescription(call->response)
                         : Result<DescribedModel>(FromGrpc(status)));
        impl->Remove(call.get());
      });
}

std::shared_ptr<LinkClient::Running> LinkClient::Infer(const InferCall& call,
                                                       const InferTarget& target,
                                                       std::shared_ptr<const Signature> signature,
                                                       Time now, OnInferEnd end) {
  auto running = std::make_shared<InferUnary>();
  WriteCall(call, target.model, target.version, *signature, now, &running->request);
  running->request.set_graph(target.graph);
  if (call.deadline != kNever) running->context().set_deadline(In(call.deadline - now + kSlack));
  impl_->Add(running);
  impl_->stub->async()->Infer(
      &running->context(), &running->request, &running->response,
      [impl = impl_, running, signature, end = std::move(end)](const grpc::Status& status) {
        InferEnd result;
        std::vector<TensorView> outputs;
        if (status.ok() && running->response.given_back()) {
          result.given_back = true;
        } else if (status.ok()) {
          auto read = ReadAnswer(running->response, *signature, &result.timings);
          result.status = read.ok() ? Status::Ok() : read.status();
          if (read.ok()) outputs = std::move(*read);
        } else {
          result.status = FromGrpc(status);
          result.link_failed = running->LinkFailed(status);
        }
        end(result, outputs);
        impl->Remove(running.get());
      });
  return running;
}

template <typename Call, typename Start>
std::shared_ptr<LinkClient::Running> LinkClient::EmbedBy(const EmbeddingCall& call,
                                                         std::string_view model, Time now,
                                                         OnEmbeddingEnd end, Start start) {
  auto running = std::make_shared<Call>();
  WriteEmbedding(call, model, now, &running->request);
  if (call.deadline != kNever) running->context().set_deadline(In(call.deadline - now + kSlack));
  impl_->Add(running);
  start(*impl_->stub, *running,
        [impl = impl_, running, end = std::move(end)](const grpc::Status& status) {
          if (status.ok()) {
            end(ReadEmbeddingAnswer(running->response), false);
          } else {
            end({FromGrpc(status), {}, 0}, running->LinkFailed(status));
          }
          impl->Remove(running.get());
        });
  return running;
}

std::shared_ptr<LinkClient::Running> LinkClient::Embed(const EmbeddingCall& call,
                                                       std::string_view model, Time now,
                                                       OnEmbeddingEnd end) {
  using Stub = node::v1::Node::Stub;
  if (call.query) {
    return EmbedBy<RankUnary>(
        call, model, now, std::move(end), [](Stub& stub, RankUnary& running, auto done) {
          stub.async()->Rank(&running.context(), &running.request, &running.response, done);
        });
  }
  return EmbedBy<EmbedUnary>(
      call, model, now, std::move(end), [](Stub& stub, EmbedUnary& running, auto done) {
        stub.async()->Embed(&running.context(), &running.request, &running.response, done);
      });
}

namespace {

// Reads a generation's events one after the other.
class GenerateReader final : public LinkCall,
                             public grpc::ClientReadReactor<node::v1::GenerateEvent> {
 public:
  GenerateReader(std::shared_ptr<LinkClient::GenerationSink> sink,
                 std::function<void(LinkCall*)> gone)
      : sink_(std::move(sink)), gone_(std::move(gone)) {}

  void Start(node::v1::Node::Stub& stub, std::shared_ptr<GenerateReader> self) {
    self_ = std::move(self);
    stub.async()->Generate(&context_, &request, this);
    StartRead(&event_);
    StartCall();
  }
  grpc::ClientContext& context() { return context_; }

  node::v1::GenerateRequest request;

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone() comes
    switch (event_.event_case()) {
      case node::v1::GenerateEvent::kStart: sink_->OnStart(event_.start().prompt_tokens()); break;
      case node::v1::GenerateEvent::kDelta: sink_->OnDelta(ReadDelta(event_)); break;
      case node::v1::GenerateEvent::kFinish:
        if (const auto reason = ReadReason(event_.finish().reason()); reason.ok()) {
          sink_->OnFinish(event_.finish().choice(), *reason);
        } else {
          wrong_ = reason.status();
          context_.TryCancel();
        }
        break;
      case node::v1::GenerateEvent::kDone:
        done_ = true;
        given_back_ = event_.done().given_back();
        outcome_ = ReadDone(event_, &usage_);
        break;
      case node::v1::GenerateEvent::kMove: sink_->OnMoveAsked(ReadMove(event_)); break;
      case node::v1::GenerateEvent::EVENT_NOT_SET: break;  // of a version to come
    }
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<GenerateReader> self = std::move(self_);
    if (given_back_) {
      sink_->OnGivenBack();
    } else if (done_) {
      sink_->OnEnd(outcome_, false, usage_);
    } else if (!wrong_.ok()) {
      sink_->OnEnd(wrong_, false, usage_);
    } else if (status.ok()) {
      sink_->OnEnd(Unavailable("the other node's answer broke off"), true, usage_);
    } else {
      sink_->OnEnd(FromGrpc(status), LinkFailed(status), usage_);
    }
    sink_.reset();
    gone_(this);
  }

  std::shared_ptr<LinkClient::GenerationSink> sink_;
  const std::function<void(LinkCall*)> gone_;
  std::shared_ptr<GenerateReader> self_;  // until OnDone()
  node::v1::GenerateEvent event_;
  bool done_ = false, given_back_ = false;
  Status outcome_, wrong_;
  GenerationUsage usage_;
};

}  // namespace

std::shared_ptr<LinkClient::Running> LinkClient::Generate(const GenerationCall& call,
                                                          std::string_view model, Time now,
                                                          std::shared_ptr<GenerationSink> sink) {
  auto reader = std::make_shared<GenerateReader>(
      std::move(sink), [impl = impl_](LinkCall* ended) { impl->Remove(ended); });
  WriteGeneration(call, model, now, &reader->request);
  if (call.deadline != kNever) reader->context().set_deadline(In(call.deadline - now + kSlack));
  impl_->Add(reader);
  reader->Start(*impl_->stub, reader);
  return reader;
}

namespace {

// Reads a state's events one after the other.
class StateStream final : public LinkCall, public grpc::ClientReadReactor<node::v1::StateEvent> {
 public:
  StateStream(std::string binding, std::function<void(Result<SequenceState>)> done,
              std::function<void(LinkCall*)> gone)
      : reader_(std::move(binding)), done_(std::move(done)), gone_(std::move(gone)) {}

  void Start(node::v1::Node::Stub& stub, std::shared_ptr<StateStream> self) {
    self_ = std::move(self);
    stub.async()->ReadState(&context_, &request, this);
    StartRead(&event_);
    StartCall();
  }
  grpc::ClientContext& context() { return context_; }

  node::v1::ReadStateRequest request;

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone() comes
    if (wrong_.ok()) {
      wrong_ = reader_.Add(event_);
      if (!wrong_.ok()) context_.TryCancel();
    }
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<StateStream> self = std::move(self_);
    if (!wrong_.ok()) {
      done_(wrong_);
    } else if (!status.ok()) {
      done_(FromGrpc(status));
    } else {
      done_(reader_.Take());
    }
    gone_(this);
  }

  StateReader reader_;
  const std::function<void(Result<SequenceState>)> done_;
  const std::function<void(LinkCall*)> gone_;
  std::shared_ptr<StateStream> self_;  // until OnDone()
  node::v1::StateEvent event_;
  Status wrong_;
};

}  // namespace

void LinkClient::ReadState(const StateRequest& request, Duration timeout,
                           std::function<void(Result<SequenceState>)> done) {
  auto call = std::make_shared<StateStream>(
      request.binding, std::move(done), [impl = impl_](LinkCall* ended) { impl->Remove(ended); });
  WriteStateRequest(request, &call->request);
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  call->Start(*impl_->stub, call);
}

void LinkClient::TakeState(const StateOrder& order, Duration timeout,
                           std::function<void(Result<StateTaken>)> done) {
  auto call = std::make_shared<TakeStateCall>();
  WriteStateOrder(order, &call->request);
  call->context().set_deadline(In(timeout));
  impl_->Add(call);
  impl_->stub->async()->TakeState(
      &call->context(), &call->request, &call->response,
      [impl = impl_, call, done = std::move(done)](const grpc::Status& status) {
        done(status.ok() ? ReadStateTaken(call->response) : Result<StateTaken>(FromGrpc(status)));
        impl->Remove(call.get());
      });
}

}  // namespace evenkeel
