// This node's share of the cluster's store: runs a member of it where the store says that this node has one, and, on the node that leads, makes the store grow
// with the cluster (policy/store_growth.h).
//
// How it goes: the store's own list of members says what is to be. Who stands in it and has never run is started, told the others; who stands in it no more ends, and
//   its data are set aside. Clients' endpoints follow the list.
// Not for: an etcd that runs elsewhere: then it only hands on where that is.
// Data: FOLDER/etcd-GENERATION, so that a store that was given up is never taken for the present one; what is set aside ends in ".removed".
// Thread-safety: single-owner (the loop), which waits for the disk and for the start of a process.
// Source: issue S4, "Membership and state".
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cluster/home/cluster_home.h"
#include "cluster/node_record.h"
#include "cluster/policy/store_growth.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "server/event_log.h"
#include "server/store_access.h"

namespace evenkeel {

struct StoreKeeperOptions {
  std::string folder;   // the cluster folder
  std::string cluster;  // id
  NodeAddress own;
  std::function<void(const StoreHome&)> on_change;  // to be kept, and told
  StoreGrowthOptions growth;
};

class StoreKeeper {
 public:
  // `access`, `loop`, `clock` and `events` outlive it.
  StoreKeeper(StoreKeeperOptions options, const StoreAccess& access, EventLoop& loop,
              const Clock& clock, EventLog& events);
  ~StoreKeeper();

  // This is the store from now on; a member of another one ends first. `fresh`: what lies in the folder of its data is old.
  void Use(StoreHome store, bool fresh = false);
  // The same store is elsewhere than we knew.
  void Follow(const std::vector<std::string>& endpoints);
  // About once a second. `nodes`: that hold a lease.
  void Look(bool connected, bool leading, const std::vector<NodeRecord>& nodes);
  // Takes the node's member out of the store; another one is made where there is a node for it. Errors: kNotFound, kConflict (it is the only one),
  // kUnavailable (the store does not answer, or too few of its members do).
  void Replace(const std::string& node, StoreMembers::Done done);
  void Stop(std::function<void()> done);

  const StoreHome& store() const { return store_; }
  StoreAccess::Endpoints endpoints() const { return endpoints_; }
  // What an operator should know; empty: nothing.
  const std::string& trouble() const { return trouble_; }
  nlohmann::json Describe() const;

 private:
  std::string DataFolder() const;
  EtcdProcessOptions ProcessOptions() const;
  void StartKept();
  void StartJoining();
  void Start(EtcdProcessOptions options);
  void Withdraw();
  void SetAside();
  void List();
  void OnList(Result<std::vector<StoreMember>> members);
  void FollowMembers();
  void LookAtOwn();
  void Grow();
  void Remove(const std::string& node, const std::vector<StoreMember>& members,
              const StoreMembers::Done& done);
  void Changed();

  const StoreKeeperOptions options_;
  const StoreAccess& access_;
  EventLoop& loop_;
  const Clock& clock_;
  EventLog& events_;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  const std::string own_peer_url_, own_endpoint_;

  StoreHome store_;
  const std::shared_ptr<std::vector<std::string>> endpoints_;
  std::unique_ptr<MemberProcess> process_;
  std::unique_ptr<MemberProcess> ending_;  // of the store before
  std::unique_ptr<StoreMembers> members_client_;
  std::vector<StoreMember> members_;  // as they were listed last
  std::string trouble_;
  Time start_again_{};
  Time list_at_{};
  bool listing_ = false;
  bool changing_ = false;  // a step is under way
  bool leading_ = false;
  std::vector<NodeRecord> nodes_;
  StoreGrowth growth_;
  int missing_ = 0;  // lists in a row that this node's member was not in
};

}  // namespace evenkeel
