// Membership over a store with leases, transactions and watches: the state machine. It reads all keys of the cluster, watches them, and brings what lies
// there, one step after the other, to what this node wants: its record under a lease, its candidacy, a history that is right.
//
// Contract: as Membership.
//   Connecting: a read, then a watch from the revision after it. Also after a lost connection: a watch from an old revision would stay silent in a store that
//     was put back. Tried again after pauses that double (first_retry to longest_retry). A compaction under the watch is a new read.
//   Lease: refreshed at each third of its time, by a fixed schedule. One that lapsed is replaced; who led stops to when its lease may have lapsed, by
//     this node's monotonic clock from the sending of the last refresh that was answered.
//   Election: the oldest candidate of the present history leads; its term is its key's revision. Fence: a plan is stored by a transaction that holds only if
//     that key and the history are unchanged.
//   A store that went back (store_seen.h): the view's `trouble` says so, nobody leads and no plan is taken until the history was counted up (by whoever
//     notices first) and a leader has a term of it.
//   A second process with this node's id takes it over; the first one is told and stays out.
// Time: from the clock only, by alarms on the loop. Thread-safety: as Membership; made and destroyed on the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cluster/kv_store.h"
#include "cluster/membership.h"
#include "cluster/plan_fence.h"
#include "cluster/store_seen.h"
#include "cluster/store_table.h"
#include "core/clock.h"
#include "core/event_loop.h"

namespace evenkeel {

struct StoreMembershipOptions {
  std::string cluster;                      // id
  Duration ttl = std::chrono::seconds(10);  // of the lease; the store may give a longer one
  Duration first_retry = std::chrono::milliseconds(100);
  Duration longest_retry = std::chrono::seconds(5);
  std::shared_ptr<const StoredPlan> last_plan;  // from this node's disk; null: none
  std::function<void()> on_change;              // may be empty
};

class StoreMembership final : public Membership {
 public:
  // REQUIRES: IsNodeId(options.cluster). `loop` and `clock` outlive this.
  StoreMembership(StoreMembershipOptions options, std::unique_ptr<KvStore> store, EventLoop& loop,
                  const Clock& clock);
  ~StoreMembership() override;

  Status Join(const NodeRecord& self) override;
  void Leave(std::function<void()> done) override;
  void Campaign(bool wanted) override;
  void Publish(StoredPlan plan, PublishDone done) override;
  void SetRemoved(const std::string& node, bool removed, ChangeDone done) override;
  std::shared_ptr<const ClusterView> View() const override;

 private:
  // Connection.
  void Connect();
  void Lost(const Status& why);
  void ReadAgain();
  void ReadLater();
  void OnRead(Result<KvSnapshot> snapshot);
  void OnEnd(const Status& why, bool compacted);
  void AfterChange();
  void TakePlan();
  void CheckSuperseded();
  void Tell();
  std::string Trouble() const;
  bool Leading() const;

  // Steps towards what is wanted, one at a time.
  void Advance();
  void CountHistory();
  void PutRecord();
  void PutCandidacy();
  void DropCandidacy();
  void Send(KvTransaction transaction);

  // Lease.
  void Grant();
  void OnGranted(const KvLease& lease, Time sent);
  void Refresh();
  void OnRefreshAlarm();
  void LoseLease();

  std::string OwnNodeKey() const { return table_.NodeKey(self_->id); }
  std::string OwnLeaderKey() const { return table_.LeaderKey(table_.history(), lease_); }

  // A callback that does nothing once the connection is another one.
  template <typename T, typename Then>
  KvStore::Done<T> IfSame(Then then) {
    return [this, attempt = attempt_, then = std::move(then)](Result<T> result) {
      if (attempt == attempt_) then(std::move(result));
    };
  }

  const StoreMembershipOptions options_;
  EventLoop& loop_;
  const Clock& clock_;
  // Posted tasks look whether it is still there.
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);

  // What is known of the store.
  StoreTable table_;
  StoreSeen seen_;
  PlanFence fence_;
  std::shared_ptr<const StoredPlan> plan_;  // the last that the fence took
  std::string plan_trouble_;
  std::string went_back_;  // while count_history_
  bool count_history_ = false;
  bool connected_ = false;
  std::string lost_why_;
  Time connected_since_{};
  Duration pause_;
  uint64_t attempt_ = 0;

  // What is wanted, and how far it is.
  std::optional<NodeRecord> self_;
  std::string self_text_;
  bool campaign_ = false;
  int64_t resigned_ =
      0;  // term that was given up: never counts again, whenever its end is heard of
  std::string superseded_;        // by whom
  std::string last_incarnation_;  // that was superseded
  int64_t joined_at_ = 0;         // revision of our record
  bool busy_ = false;             // a step is under way
  int64_t wait_revision_ = 0;     // its outcome is seen in the table from here on

  int64_t lease_ = 0;
  Duration ttl_{};
  Time lease_until_{};
  Time next_refresh_{};
  bool lease_confirmed_ = false;  // on this connection
  bool refreshing_ = false;

  mutable std::mutex mutex_;  // guards view_
  std::shared_ptr<const ClusterView> view_;
  bool told_ = false;  // on_change is posted

  std::unique_ptr<Alarm> retry_alarm_, refresh_alarm_, lapse_alarm_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<KvWatch> watch_;  // goes before its store
};

}  // namespace evenkeel
