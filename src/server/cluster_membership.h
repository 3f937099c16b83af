// This node's membership in its cluster, by the cluster's store: who is there, who leads, which plan holds; the store itself, as far as it runs here.
//
// Use for: nodes with a cluster folder whose cluster has a store. Not for: load figures, calls: those go on whatever is said here (fail static).
// How it goes: StoreKeeper runs the member, StoreMembership says what the store holds; this class puts them together, keeps the last plan on the disk, and takes part in
//   what goes beyond one store: a store that was begun anew elsewhere is followed (HearFigures), or is begun here (Promote) with the history counted up, so that
//   every plan of the old one is older. The leader stores the last plan again where the store has none of the present history.
// Contract: nothing that is asked for stays without an answer. What needs the store while it is away ends with kUnavailable: since when and why.
// Thread-safety: View(), Store(), Leases() and Describe() are thread-safe; the rest on the loop's thread, which waits for the disk and is nobody else's.
// Source: issue S4, "Membership and state".
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cluster/home/cluster_home.h"
#include "cluster/live/cluster_health.h"
#include "cluster/live/node_figures.h"
#include "cluster/membership.h"
#include "cluster/plan_file.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "server/answer_once.h"
#include "server/event_log.h"
#include "server/store_access.h"
#include "server/store_keeper.h"

namespace evenkeel {

struct ClusterMembershipOptions {
  std::string folder;  // the cluster folder
  ClusterHome home;    // as it was loaded; its store is not kNone
  NodeRecord record;   // of this node
  Duration lease = std::chrono::seconds(10);
  // On the loop's thread:
  std::function<void(const ClusterView&)> on_view;  // after each change
  std::function<void(const StoreHome&)> on_store;   // to be kept
  StoreGrowthOptions growth;
};

class ClusterMembership {
 public:
  using OnPlan = std::function<void(std::shared_ptr<const StoredPlan>)>;

  // `access`, `loop`, `clock` and `events` outlive it.
  ClusterMembership(ClusterMembershipOptions options, const StoreAccess& access, EventLoop& loop,
                    const Clock& clock, EventLog& events);
  ~ClusterMembership();

  void Start();
  // Gives the lease back, and ends the member. `done` once, a few seconds later at most.
  void Stop(std::function<void()> done);

  // As ClusterHost has them.
  void Publish(std::string plan, std::function<void(Result<PlanStamp>)> done);
  void set_on_plan(OnPlan on_plan);
  // As Membership::SetRemoved().
  void SetRemoved(const std::string& node, bool removed, std::function<void(Status)> done);
  void ReplaceMember(const std::string& node, std::function<void(Status)> done);
  // Begins the store anew here, with this node as its only member. Errors: kConflict (the store is there; another try is under way; the nodes do not run it),
  // kUnavailable (it does not start: the old one is what is tried again).
  void Promote(std::function<void(Status)> done);
  // What another node said of the store.
  void HearFigures(const NodeFigures& figures);

  // Never null.
  std::shared_ptr<const ClusterView> View() const;
  StoreHome Store() const;
  // Nodes that hold a lease; nullopt: the store is away. Settled once it has been there for a lease's time.
  std::optional<HeldLeases> Leases() const;
  // For people: the store, its members, who leads, the plan.
  nlohmann::json Describe() const;

 private:
  void KeepStore(const StoreHome& store);
  void OpenMembership();
  void OnView();
  void TakePlan(const ClusterView& view);
  void StoreAgain(const ClusterView& view);
  void NoteChanges(const ClusterView& before, const ClusterView& now);
  void Tick();
  void Tell();  // what Describe() gives
  Status Away() const;

  void FinishPromotion(const Status& status);
  void BeginHistory();

  const ClusterMembershipOptions options_;
  const StoreAccess& access_;
  EventLoop& loop_;
  const Clock& clock_;
  EventLog& events_;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  const PlanFile plan_file_;
  std::shared_ptr<const StoredPlan> last_plan_;  // accepted, and on the disk
  Time plan_since_{};
  std::string plan_trouble_, open_trouble_;
  OnPlan on_plan_;
  std::unique_ptr<StoreKeeper> keeper_;
  std::unique_ptr<Membership> membership_;
  std::unique_ptr<Alarm> tick_, stop_alarm_, promotion_alarm_;
  Time store_again_{};  // when the last plan may be stored again
  bool stopping_ = false;
  bool removed_ = false;  // this node was taken off

  // While a store is begun anew here.
  struct Promotion {
    AnswerOnce<Status> done;
    StoreHome before;
    int64_t history = 0;
    std::vector<std::string> removed;
    Time until{};
    std::unique_ptr<KvStore> store;
  };
  std::unique_ptr<Promotion> promotion_;

  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<const ClusterView> view_;
  Time since_{};  // connected, or not, since
  StoreHome store_;
  nlohmann::json described_;
};

}  // namespace evenkeel
