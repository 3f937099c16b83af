// This server as a node of a cluster: what it tells the others, what they told, and which node a call goes to.
//
// How it goes: every kActive (kRest where no call came lately) it tells each other node its figures and hears theirs, where nothing is about anywhere every other time
//   (cluster/live/tell_pace.h). The first call after a rest begins a tick. Models that only others have are
//   described by one of them. A node that stays silent is suspect (ReplicaTable), and what is under way there is given up, to be tried elsewhere.
// How fast links are is tried out with kProbeBytes, once when a node is first heard of and every kProbeEvery after.
// Retries take from a budget (policy/retry_budget.h).
// Ownership: the registry, the loop and the clock outlive it. Stop() before it goes.
// Thread-safety: thread-safe, but for construction, Stop() and destruction. Source: B6, issue S4.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/link/link_client.h"
#include "cluster/link/link_server.h"
#include "cluster/link/model_link.h"
#include "cluster/live/cluster_health.h"
#include "cluster/live/replica_table.h"
#include "cluster/policy/retry_budget.h"
#include "containers/node_memory.h"
#include "core/event_loop.h"
#include "server/cluster_balance.h"
#include "server/cluster_deploys.h"
#include "server/cluster_feedback.h"
#include "server/cluster_options.h"
#include "server/event_log.h"
#include "server/kept_wishes.h"
#include "server/model_registry.h"
#include "server/node_models.h"
#include "server/plan_runner.h"
#include "server/state_exchange.h"

namespace evenkeel {

class ClusterNode final : private NodeHost {
 public:
  static constexpr Duration kActive = std::chrono::milliseconds(200);
  static constexpr Duration kRest = std::chrono::seconds(1);
  static constexpr Duration kMemoryEvery = std::chrono::seconds(1);         // it is read from files
  static constexpr Duration kGraphsEvery = std::chrono::milliseconds(400);  // its own are looked at
  static constexpr size_t kProbeBytes = size_t{256} << 10;
  static constexpr Duration kProbeEvery = std::chrono::minutes(10);

  // What nodes know each other by; both outlive the node. Null: nothing is encrypted.
  struct Trust {
    const link::NodeCredentials* credentials = nullptr;
    IoLoop* loop = nullptr;
  };
  // Listens for other nodes and begins to tell. Errors: as LinkServer::Start().
  static Result<std::unique_ptr<ClusterNode>> Start(const ClusterOptions& options,
                                                    ModelRegistry& registry, EventLoop& loop,
                                                    const Clock& clock, Trust trust);
  // A node that joined. On any thread; a name that is known, or was removed, is left as it is.
  void AddPeer(const NodeAddress& node);
  // These were taken off the cluster, and no others. On any thread. Who comes back later is new.
  void SetRemoved(const std::vector<std::string>& names);
  std::vector<NodeAddress> Nodes() const;  // all, the own one first
  ~ClusterNode() override;
  // Wants no new work from the others, tells them, and gives back what they and its own gateway can run elsewhere.
  void Drain();
  // "drain", "cordon" or "uncordon" of any node. `done` is called once: kNotFound, kInvalidArgument, kUnavailable.
  void SetState(std::string_view node, std::string_view state, std::function<void(Status)> done);
  // Nothing is told or heard any more. Not on the loop's thread.
  void Stop();

  // A model that can be called by its name, wherever it is served.
  struct Known {
    std::string version;
    std::string asked;                           // that version alone is meant; empty: any
    uint64_t digest = 0;                         // of the signature
    std::shared_ptr<const Signature> signature;  // null: a language model
    LanguageModelInfo info;
    bool graph = false;      // it calls others
    bool elsewhere = false;  // another node serves it, too
    bool reachable = false;  // another node that serves it is there, and takes calls
  };
  // nullptr: no other node serves it, or nobody has described it yet.
  std::shared_ptr<const Known> Find(std::string_view model, std::string_view version) const;
  std::vector<std::shared_ptr<const Known>> Languages() const;  // those of other nodes, too
  // Nobody is known to serve the model, which may be for want of time: right after the start not all nodes have been heard, and what one tells of is described a
  // moment later.
  bool MayStillCome(std::string_view model) const;

  ReplicaTable::Choice Choose(const ReplicaTable::Wanted& wanted,
                              const std::vector<bool>& not_these);
  void Ended(const ReplicaTable::Choice& choice);
  int CallsElsewhere() const;  // of this gateway's, that other nodes have
  void OnLinkFailure(int node);
  bool TakeRetry();  // false: the budget is spent
  // An answer is on its way to another node; each is ended once.
  void MoveBegins() { moving_.fetch_add(1, std::memory_order_relaxed); }
  void MoveEnded() { moving_.fetch_sub(1, std::memory_order_relaxed); }
  // Null: no other node is called so.
  LinkClient* LinkTo(std::string_view node) {
    const int index = IndexOf(node);
    return index > 0 ? &link(index) : nullptr;
  }
  // REQUIRES: node > 0.
  LinkClient& link(int node) { return *nodes_[static_cast<size_t>(node)]->link; }
  const std::string& NameOf(int node) const {
    return nodes_[static_cast<size_t>(node)]->address.name;
  }
  size_t size() const { return count_.load(std::memory_order_acquire); }
  const Clock& clock() const { return clock_; }
  ModelRegistry& registry() { return registry_; }

  // By index, also of nodes that were removed (NodeView::gone).
  std::vector<ReplicaTable::NodeView> Look() const;
  struct NodeState {
    Health health = Health::kAlive;
    std::string why;  // that it isn't alive
  };
  NodeState StateOf(std::string_view node) const;
  // So many nodes went at once that nothing is moved: why; empty: things move.
  std::string WhyFrozen() const;
  std::vector<EventLog::Event> Events() const { return events_.Last(); }
  EventLog& events() { return events_; }
  ClusterFeedback& feedback() { return feedback_; }
  const ClusterFeedback& feedback() const { return feedback_; }
  // Since the start.
  struct Counts {
    ClusterBalance::Moved moved;
    int moving = 0;
    uint64_t retries = 0, retries_refused = 0;  // taken from the budget, and not
  };
  Counts counts() const;
  int port() const { return server_->port(); }
  ClusterDeploys& deploys() { return *deploys_; }
  PlanRunner& plans() { return *runner_; }
  // A plan that holds, by the cluster's store: older ones are refused from now on. On any thread.
  void KnowPlan(const PlanStamp& stamp) { models_->KnowPlan(stamp); }
  StateExchange& states() { return *states_; }
  const StateExchange& states() const { return *states_; }

 private:
  using KnownModels = std::map<std::string, std::shared_ptr<const Known>, std::less<>>;

  // What belongs to one node; the own one has no link.
  struct Node {
    NodeAddress address;
    std::unique_ptr<LinkClient> link;
    std::atomic<bool> gone{false};  // removed: its place stays
    // Guarded by mutex_:
    bool was_suspect = true;
    bool telling = false;  // an answer is awaited
    bool news = false;     // something has changed since it was told
    Time probe_at{};
    uint64_t nodes_digest = 0;  // as it told last
    ToldBefore told;
    Time give_up_at{};         // not before that once more what runs there
    uint64_t incarnation = 0;  // of who answers at its address; 0: nobody has yet
    int strangers = 0;         // times that another told figures in its name
    bool misnamed = false;     // it calls itself by another name, and that was said
  };

  ClusterNode(const ClusterOptions& options, ModelRegistry& registry, EventLoop& loop,
              const Clock& clock, Trust trust);
  void AddNode(const NodeAddress& address, bool own);
  NodeFigures Figures();
  int64_t FreeMemory();
  std::vector<ModelFigures> OwnGraphs();
  int64_t ReadFreeMemory() const;
  // NodeHost
  bool IsOfCluster(std::string_view node) const override { return IndexOf(node) >= 0; }
  NodeFigures FiguresFor(const NodeFigures& theirs) override;
  void OnFigures(const NodeFigures& theirs) override;
  Status SetOwnState(std::string_view state) override;
  void PublishPlan(std::string plan, std::function<void(Result<PlanStamp>)> done) override;
  Result<std::string> Renew(const std::string& caller, const std::string& request_pem) override;
  void ReadState(StateRequest request, std::function<void(Result<BoundState>)> done) override {
    states_->Read(request, std::move(done));
  }
  void TakeState(StateOrder order, std::function<void(Result<StateTaken>)> done) override {
    states_->Take(order, std::move(done));
  }
  Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view model,
                                               std::string_view version) override {
    return registry_.FindForCall(model, version);
  }
  Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view model) override {
    return registry_.FindLanguage(model);
  }

  void StartModels();
  void StartStates();
  double MeasuredLink(int node) const;  // bytes a second; 0: not measured
  std::unique_ptr<ModelLink> LinkToModels(const std::string& node) const;
  // REQUIRES: mutex_. What changed since the last look.
  std::vector<ClusterHealth::Change> LookAtHealth(const std::vector<ReplicaTable::NodeView>& views,
                                                  const std::optional<HeldLeases>& leases);
  bool IsStranger(int node, const NodeFigures& theirs);
  void Tick();
  void LookAtCores();
  void TellAll(bool news = true);
  static bool WorkAnywhere(const std::vector<ReplicaTable::NodeView>& views);
  void FiguresChanged();  // others are to hear of it now; on any thread
  void ProbeLinks(Time now);
  void Heard(int node, Result<NodeFigures> figures, Time asked);
  void Take(int node, NodeFigures figures, Time made, bool answered = true);
  void DescribeUnknown(int node, const NodeFigures& figures);
  void Described(uint64_t digest, Result<DescribedModel> model);
  void Rebuild();  // REQUIRES: mutex_
  int IndexOf(std::string_view name) const;
  double Now() const { return Seconds(clock_.Now().time_since_epoch()); }

  const ClusterOptions options_;
  const Trust trust_;
  ModelRegistry& registry_;
  EventLoop& loop_;
  const Clock& clock_;
  const uint64_t incarnation_;
  const Time started_;
  const ResourceVector resources_;
  const NodeMemoryGauge memory_;
  // The own one first; grows on the loop, never beyond what was reserved, so that others may read those below count_.
  std::vector<std::unique_ptr<Node>> nodes_;
  std::atomic<size_t> count_{0};
  std::unique_ptr<LinkServer> server_;
  std::unique_ptr<Alarm> tick_;
  EventLog events_;
  ClusterBalance balance_;  // the loop's
  ClusterFeedback feedback_;
  KeptWishes wishes_;
  std::atomic<double> busy_cores_{0};  // mean of the last seconds
  std::atomic<int> moving_{0};
  std::unique_ptr<NodeModels> models_;
  std::shared_ptr<StateExchange> states_;
  std::unique_ptr<ClusterDeploys> deploys_;
  std::unique_ptr<PlanRunner> runner_;
  std::atomic<uint64_t> calls_{0};
  std::atomic<bool> draining_{false}, stopped_{false};

  mutable std::mutex mutex_;  // guards what follows; held for look-ups only
  ReplicaTable table_;
  ClusterHealth health_;
  std::set<std::string, std::less<>> removed_;
  std::map<uint64_t, std::shared_ptr<const DescribedModel>> described_;  // by digest
  std::map<uint64_t, Time> asked_;  // by digest: not asked again before
  std::shared_ptr<const KnownModels> known_;
  std::condition_variable ended_;  // a call ended, once it is stopped
  uint64_t sequence_ = 0;
  uint64_t calls_seen_ = 0;
  bool resting_ = false;  // the next tick is kRest away
  Time memory_at_{};      // when it is read again
  int64_t free_memory_bytes_ = 0;
  Time graphs_at_{};  // when they are looked at again
  std::vector<ModelFigures> graphs_;
  Time busy_until_{};
  RetryBudget retries_;
};

}  // namespace evenkeel
