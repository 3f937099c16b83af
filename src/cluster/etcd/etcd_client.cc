#include "cluster/etcd/etcd_client.h"

#include <grpc/support/time.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <utility>

#include "cluster/callback_threads.h"
#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"
#include "proto/etcd.grpc.pb.h"

namespace evenkeel {
namespace {

namespace pb = etcdserverpb;

constexpr size_t kMostEndpoints = 16;
constexpr int kMostMessageBytes = 32 << 20;
// Below 5 s etcd takes pings for an attack.
constexpr int kPingEveryMs = 6000;
constexpr int kPingTimeoutMs = 3000;

gpr_timespec In(Duration d) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(d.count(), GPR_TIMESPAN));
}

bool IsAway(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

Status ToStatus(const grpc::Status& status, const std::string& endpoint) {
  const auto code = [&status] {
    switch (status.error_code()) {
      case grpc::StatusCode::OK: return Code::kOk;
      case grpc::StatusCode::UNAVAILABLE:
      case grpc::StatusCode::DEADLINE_EXCEEDED:
      case grpc::StatusCode::CANCELLED: return Code::kUnavailable;
      case grpc::StatusCode::NOT_FOUND: return Code::kNotFound;
      case grpc::StatusCode::UNAUTHENTICATED: return Code::kUnauthenticated;
      case grpc::StatusCode::PERMISSION_DENIED: return Code::kPermissionDenied;
      case grpc::StatusCode::RESOURCE_EXHAUSTED: return Code::kOverloaded;
      case grpc::StatusCode::INVALID_ARGUMENT: return Code::kInvalidArgument;
      case grpc::StatusCode::UNIMPLEMENTED: return Code::kUnsupported;
      default: return Code::kInternal;
    }
  }();
  if (code == Code::kOk) return Status::Ok();
  const char* const late =
      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ? "no answer in time: " : "";
  return {code,
          fmt::format("etcd at {}: {}{}", endpoint, late, Excerpt(status.error_message(), 300))};
}

// One endpoint's channel. Calls under way keep it.
struct Connection {
  Connection(const std::string& to, const std::shared_ptr<grpc::ChannelCredentials>& credentials)
      : endpoint(to) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // else a broken one comes back
    arguments.SetMaxReceiveMessageSize(kMostMessageBytes);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingEveryMs);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no bound: a watch is silent
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    // We retry ourselves. And gRPC 1.51's own retries abort the process where an etcd that ends breaks off an answer before its status.
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    channel = grpc::CreateCustomChannel(to, credentials, arguments);
    kv = pb::KV::NewStub(channel);
    watch = pb::Watch::NewStub(channel);
    lease = pb::Lease::NewStub(channel);
    cluster = pb::Cluster::NewStub(channel);
    maintenance = pb::Maintenance::NewStub(channel);
  }

  const std::string endpoint;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<pb::KV::Stub> kv;
  std::unique_ptr<pb::Watch::Stub> watch;
  std::unique_ptr<pb::Lease::Stub> lease;
  std::unique_ptr<pb::Cluster::Stub> cluster;
  std::unique_ptr<pb::Maintenance::Stub> maintenance;
};

// What gRPC's threads share with the client: calls under way, and the loop, which outlives them because the client waits.
class UnderWay {
 public:
  explicit UnderWay(EventLoop& loop) : loop_(loop) {}

  void Enter(grpc::ClientContext* context) {
    const std::lock_guard lock(mutex_);
    contexts_.insert(context);
  }
  // The call's last sign: `task` runs on the loop.
  void Leave(grpc::ClientContext* context, std::function<void()> task) {
    loop_.Post(std::move(task));
    const std::lock_guard lock(mutex_);
    contexts_.erase(context);
    changed_.notify_all();  // under the lock: whoever waits destroys this
  }
  void Post(std::function<void()> task) { loop_.Post(std::move(task)); }
  void CancelAndWait() {
    std::unique_lock lock(mutex_);
    for (grpc::ClientContext* const context : contexts_) context->TryCancel();
    changed_.wait(lock, [this] { return contexts_.empty(); });
  }

 private:
  EventLoop& loop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<grpc::ClientContext*> contexts_;  // guarded by mutex_
};

// A stream with one request. Owns itself from Start() to its end; all that follows the start happens in gRPC's order.
template <typename Request, typename Response>
class OneRequestStream final : public grpc::ClientBidiReactor<Request, Response> {
 public:
  using Message = std::function<void(std::shared_ptr<Response>)>;
  using End = std::function<void(grpc::ClientContext*, const grpc::Status&)>;

  // `message` and `end` run on gRPC's threads. REQUIRES: `under_way` has entered context().
  OneRequestStream(Request request, Message message, End end)
      : request_(std::move(request)), message_(std::move(message)), end_(std::move(end)) {}

  grpc::ClientContext* context() { return &context_; }

  // REQUIRES: the stub was given this.
  void Start(std::shared_ptr<OneRequestStream> self, bool last) {
    self_ = std::move(self);
    if (last) {
      this->StartWriteLast(&request_, grpc::WriteOptions());
    } else {
      this->StartWrite(&request_);
    }
    ReadNext();
    this->StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone follows
    message_(std::move(response_));
    ReadNext();
  }

  void OnDone(const grpc::Status& status) override {
    const auto self = std::move(self_);  // to the end of this method
    end_(&context_, status);
  }

 private:
  void ReadNext() {
    response_ = std::make_shared<Response>();
    this->StartRead(response_.get());
  }

  grpc::ClientContext context_;
  const Request request_;
  std::shared_ptr<Response> response_;
  const Message message_;
  const End end_;
  std::shared_ptr<OneRequestStream> self_;
};

using WatchStream = OneRequestStream<pb::WatchRequest, pb::WatchResponse>;
using KeepAliveStream = OneRequestStream<pb::LeaseKeepAliveRequest, pb::LeaseKeepAliveResponse>;

// Streams end when their server has lost its leader, instead of staying silent.
void RequireLeader(grpc::ClientContext* context) { context->AddMetadata("hasleader", "true"); }

class WatchHandle final : public KvWatch {
 public:
  WatchHandle(std::shared_ptr<WatchStream> stream, std::shared_ptr<const bool> alive)
      : stream_(std::move(stream)), alive_(std::move(alive)) {}
  ~WatchHandle() override { stream_->context()->TryCancel(); }

 private:
  const std::shared_ptr<WatchStream> stream_;
  const std::shared_ptr<const bool> alive_;
};

}  // namespace

Status CheckEtcdEndpoints(const std::vector<std::string>& endpoints) {
  if (endpoints.empty() || endpoints.size() > kMostEndpoints)
    return InvalidArgument("etcd endpoints: expected 1 to {}, got {}", kMostEndpoints,
                           endpoints.size());
  for (const std::string& endpoint : endpoints) {
    const size_t colon = endpoint.rfind(':');
    if (colon == std::string::npos || colon == 0 ||
        endpoint.find_first_of("/?#@ ") != std::string::npos ||
        !ParseInt(std::string_view(endpoint).substr(colon + 1), 1, 65535).ok())
      return InvalidArgument("etcd endpoint: expected host:port, got {}", Excerpt(endpoint));
  }
  return Status::Ok();
}

class EtcdClient::Impl {
 public:
  Impl(EtcdClientOptions options, EventLoop& loop)
      : options_(std::move(options)), under_way_(loop) {
    EK_CHECK(CheckEtcdEndpoints(endpoints()).ok() && options_.credentials != nullptr);
    KeepCallbackThreads();
  }
  ~Impl() {
    alive_.reset();
    under_way_.CancelAndWait();
  }

  // `start` begins the call on the connection, and gives it `callback`.
  template <typename Request, typename Response, typename Start>
  void Unary(Request request, Done<Response> done, const Start& start) {
    struct Call {
      grpc::ClientContext context;
      Request request;
      Response response;
    };
    auto call = std::make_shared<Call>();
    call->request = std::move(request);
    call->context.set_deadline(In(options_.call_timeout));
    const auto connection = Use();
    under_way_.Enter(&call->context);
    auto finish = [this, call, connection, done = std::move(done),
                   alive = std::weak_ptr<const bool>(alive_)](const grpc::Status& status) {
      under_way_.Leave(&call->context, [this, call, connection, done, alive, status] {
        if (alive.expired()) return;
        Note(connection, status);
        if (!status.ok()) return done(ToStatus(status, connection->endpoint));
        done(std::move(call->response));
      });
    };
    start(*connection, call.get(), std::function<void(grpc::Status)>(std::move(finish)));
  }

  void KeepAlive(pb::LeaseKeepAliveRequest request, Done<pb::LeaseKeepAliveResponse> done) {
    const auto connection = Use();
    const auto answer = std::make_shared<std::shared_ptr<pb::LeaseKeepAliveResponse>>();
    auto end = [this, connection, answer, done = std::move(done),
                alive = std::weak_ptr<const bool>(alive_)](grpc::ClientContext* context,
                                                           const grpc::Status& status) {
      under_way_.Leave(context, [this, connection, answer, done, alive, status] {
        if (alive.expired()) return;
        // An answer counts, however the stream ended after it.
        if (*answer != nullptr) return done(std::move(**answer));
        Note(connection, status);
        if (!status.ok()) return done(ToStatus(status, connection->endpoint));
        done(Unavailable("etcd at {}: the stream ended without an answer", connection->endpoint));
      });
    };
    auto reactor = std::make_shared<KeepAliveStream>(
        std::move(request),
        [answer](std::shared_ptr<pb::LeaseKeepAliveResponse> message) {
          *answer = std::move(message);
        },
        std::move(end));
    reactor->context()->set_deadline(In(options_.call_timeout));
    RequireLeader(reactor->context());
    under_way_.Enter(reactor->context());
    connection->lease->async()->LeaseKeepAlive(reactor->context(), reactor.get());
    reactor->Start(reactor, /*last=*/true);
  }

  std::unique_ptr<KvWatch> Watch(pb::WatchCreateRequest create, WatchEvents watch_events) {
    const auto connection = Use();
    const auto events = std::make_shared<const WatchEvents>(std::move(watch_events));
    auto open = std::make_shared<const bool>(true);  // while the handle is there
    const std::weak_ptr<const bool> is_open = open;
    const std::weak_ptr<const bool> alive = alive_;
    auto message = [this, events, is_open, alive](std::shared_ptr<pb::WatchResponse> response) {
      under_way_.Post([events, is_open, alive, response = std::move(response)] {
        if (!alive.expired() && !is_open.expired()) events->message(*response);
      });
    };
    auto end = [this, connection, events, is_open, alive](grpc::ClientContext* context,
                                                          const grpc::Status& status) {
      under_way_.Leave(context, [this, connection, events, is_open, alive, status] {
        if (alive.expired() || is_open.expired()) return;
        Note(connection, status);
        const Status why = ToStatus(status, connection->endpoint);
        events->ended(why.ok() ? Unavailable("etcd at {} ended the watch", connection->endpoint)
                               : why);
      });
    };
    pb::WatchRequest request;
    *request.mutable_create_request() = std::move(create);
    auto reactor =
        std::make_shared<WatchStream>(std::move(request), std::move(message), std::move(end));
    RequireLeader(reactor->context());
    under_way_.Enter(reactor->context());
    connection->watch->async()->Watch(reactor->context(), reactor.get());
    reactor->Start(reactor, /*last=*/false);
    return std::make_unique<WatchHandle>(std::move(reactor), std::move(open));
  }

  std::string endpoint() const {
    return connection_ != nullptr ? connection_->endpoint : endpoints()[at_ % endpoints().size()];
  }
  uint64_t connection() const { return count_; }

 private:
  const std::vector<std::string>& endpoints() const {
    return options_.changing != nullptr ? *options_.changing : options_.endpoints;
  }

  std::shared_ptr<Connection> Use() {
    if (connection_ == nullptr)
      connection_ = std::make_shared<Connection>(endpoint(), options_.credentials);
    return connection_;
  }

  // Gives up an endpoint that is away; once, however many calls found that.
  void Note(const std::shared_ptr<Connection>& connection, const grpc::Status& status) {
    if (!IsAway(status) || connection != connection_) return;
    connection_.reset();
    ++count_;
    at_ = (at_ + 1) % endpoints().size();
  }

  const EtcdClientOptions options_;
  UnderWay under_way_;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  std::shared_ptr<Connection> connection_;
  size_t at_ = 0;
  uint64_t count_ = 0;
};

EtcdClient::EtcdClient(EtcdClientOptions options, EventLoop& loop)
    : impl_(std::make_unique<Impl>(std::move(options), loop)) {}

EtcdClient::~EtcdClient() = default;

void EtcdClient::Range(pb::RangeRequest request, Done<pb::RangeResponse> done) {
  impl_->Unary<pb::RangeRequest, pb::RangeResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.kv->async()->Range(&call->context, &call->request, &call->response,
                                      std::move(callback));
      });
}

void EtcdClient::Txn(pb::TxnRequest request, Done<pb::TxnResponse> done) {
  impl_->Unary<pb::TxnRequest, pb::TxnResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.kv->async()->Txn(&call->context, &call->request, &call->response,
                                    std::move(callback));
      });
}

void EtcdClient::Compact(pb::CompactionRequest request, Done<pb::CompactionResponse> done) {
  impl_->Unary<pb::CompactionRequest, pb::CompactionResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.kv->async()->Compact(&call->context, &call->request, &call->response,
                                        std::move(callback));
      });
}

void EtcdClient::LeaseGrant(pb::LeaseGrantRequest request, Done<pb::LeaseGrantResponse> done) {
  impl_->Unary<pb::LeaseGrantRequest, pb::LeaseGrantResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.lease->async()->LeaseGrant(&call->context, &call->request, &call->response,
                                              std::move(callback));
      });
}

void EtcdClient::LeaseRevoke(pb::LeaseRevokeRequest request, Done<pb::LeaseRevokeResponse> done) {
  impl_->Unary<pb::LeaseRevokeRequest, pb::LeaseRevokeResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.lease->async()->LeaseRevoke(&call->context, &call->request, &call->response,
                                               std::move(callback));
      });
}

void EtcdClient::LeaseKeepAlive(pb::LeaseKeepAliveRequest request,
                                Done<pb::LeaseKeepAliveResponse> done) {
  impl_->KeepAlive(std::move(request), std::move(done));
}

void EtcdClient::MemberList(Done<pb::MemberListResponse> done) {
  impl_->Unary<pb::MemberListRequest, pb::MemberListResponse>(
      {}, std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.cluster->async()->MemberList(&call->context, &call->request, &call->response,
                                                std::move(callback));
      });
}

void EtcdClient::MemberAdd(pb::MemberAddRequest request, Done<pb::MemberAddResponse> done) {
  impl_->Unary<pb::MemberAddRequest, pb::MemberAddResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.cluster->async()->MemberAdd(&call->context, &call->request, &call->response,
                                               std::move(callback));
      });
}

void EtcdClient::MemberPromote(pb::MemberPromoteRequest request,
                               Done<pb::MemberPromoteResponse> done) {
  impl_->Unary<pb::MemberPromoteRequest, pb::MemberPromoteResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.cluster->async()->MemberPromote(&call->context, &call->request, &call->response,
                                                   std::move(callback));
      });
}

void EtcdClient::MemberRemove(pb::MemberRemoveRequest request,
                              Done<pb::MemberRemoveResponse> done) {
  impl_->Unary<pb::MemberRemoveRequest, pb::MemberRemoveResponse>(
      std::move(request), std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.cluster->async()->MemberRemove(&call->context, &call->request, &call->response,
                                                  std::move(callback));
      });
}

void EtcdClient::EndpointStatus(Done<pb::StatusResponse> done) {
  impl_->Unary<pb::StatusRequest, pb::StatusResponse>(
      {}, std::move(done), [](Connection& connection, auto* call, auto callback) {
        connection.maintenance->async()->Status(&call->context, &call->request, &call->response,
                                                std::move(callback));
      });
}

std::unique_ptr<KvWatch> EtcdClient::Watch(pb::WatchCreateRequest request, WatchEvents events) {
  return impl_->Watch(std::move(request), std::move(events));
}

std::string EtcdClient::endpoint() const { return impl_->endpoint(); }

uint64_t EtcdClient::connection() const { return impl_->connection(); }

}  // namespace evenkeel
