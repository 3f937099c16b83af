// Calls to an etcd cluster, as messages of its protocol: deadlines, failover from one endpoint to the next, answers on the event loop.
//
// Use for: EtcdStore, and tests that look at what etcd holds. Not for: deciding anything.
// Contract: no method blocks. Each `done` comes once, on the loop's thread, never within the call; nothing comes after the destructor, which cancels what is under
//   way and waits for gRPC to let go of it (milliseconds). A unary call ends by options.call_timeout. A call that found its endpoint away (no connection, no answer
//   in time) makes the next call use the next endpoint, on a new connection.
// Errors: as KvStore; kNotFound where etcd says so; kOverloaded when its space or its patience is used up.
// Thread-safety: single-owner (the loop).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/kv_store.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/status.h"
#include "proto/etcd.pb.h"

namespace grpc {
class ChannelCredentials;
}

namespace evenkeel {

struct EtcdClientOptions {
  std::vector<std::string> endpoints;  // "host:port", 1 to 16; the first is tried first
  // Where they are from now on, if they may change: looked at for each new connection. Changed on the loop's thread only, and never to what
  // CheckEtcdEndpoints() refuses. Null: as above.
  std::shared_ptr<const std::vector<std::string>> changing;
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // not null
  Duration call_timeout = std::chrono::seconds(2);
};

// Errors: kInvalidArgument.
Status CheckEtcdEndpoints(const std::vector<std::string>& endpoints);

class EtcdClient {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  // REQUIRES: CheckEtcdEndpoints(options.endpoints).ok(); on the loop's thread.
  EtcdClient(EtcdClientOptions options, EventLoop& loop);
  ~EtcdClient();
  EtcdClient(const EtcdClient&) = delete;
  EtcdClient& operator=(const EtcdClient&) = delete;

  void Range(etcdserverpb::RangeRequest request, Done<etcdserverpb::RangeResponse> done);
  void Txn(etcdserverpb::TxnRequest request, Done<etcdserverpb::TxnResponse> done);
  void Compact(etcdserverpb::CompactionRequest request,
               Done<etcdserverpb::CompactionResponse> done);
  void LeaseGrant(etcdserverpb::LeaseGrantRequest request,
                  Done<etcdserverpb::LeaseGrantResponse> done);
  void LeaseRevoke(etcdserverpb::LeaseRevokeRequest request,
                   Done<etcdserverpb::LeaseRevokeResponse> done);
  // One refresh, on a stream of its own.
  void LeaseKeepAlive(etcdserverpb::LeaseKeepAliveRequest request,
                      Done<etcdserverpb::LeaseKeepAliveResponse> done);
  void MemberList(Done<etcdserverpb::MemberListResponse> done);
  void MemberAdd(etcdserverpb::MemberAddRequest request,
                 Done<etcdserverpb::MemberAddResponse> done);
  void MemberPromote(etcdserverpb::MemberPromoteRequest request,
                     Done<etcdserverpb::MemberPromoteResponse> done);
  void MemberRemove(etcdserverpb::MemberRemoveRequest request,
                    Done<etcdserverpb::MemberRemoveResponse> done);
  // Of the endpoint that is asked now.
  void EndpointStatus(Done<etcdserverpb::StatusResponse> done);

  struct WatchEvents {
    std::function<void(const etcdserverpb::WatchResponse&)> message;
    std::function<void(Status)> ended;  // last
  };
  // Destroying the handle ends the watch, after which no event comes.
  std::unique_ptr<KvWatch> Watch(etcdserverpb::WatchCreateRequest request, WatchEvents events);

  std::string endpoint() const;
  // Counts connections begun: what was found out about an endpoint holds while this is the same.
  uint64_t connection() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace evenkeel
