// What this node does with its models in a cluster: gives their files to other nodes, fetches models from them and serves those, unloads and removes them when that is asked for.
//
// How it goes: copies run one after the other on a thread of their own, paced by `copy_rate`; files are listed and read for others on two more. A model that is to go is left out of this node's
//   figures first, kMostDepartures models side by side, for as long as every other node takes to hear of that, so that nobody sends it a call any more when it is unloaded. Then it is looked again, by what the others tell at that
//   moment, whether one of them keeps it (cluster/live/may_leave.h).
// Contract: as ModelHost. An order that carries a plan's stamp is carried out only while that plan is the newest that this node knows by the store (KnowPlan): one that is older is refused with kConflict,
//   one that is not known with kUnavailable, and neither moves the fence: what an order says is never learnt. Undeploy() waits `plan_patience` for a plan that is on its way here. What people order has no stamp. An order that was not carried out when the server ended is forgotten, its partial copy is not: whoever ordered asks again.
// Ownership: what the functions stand on, events and clock outlive it. Stop() before the registry goes.
// Thread-safety: thread-safe, but for Stop() and destruction. Source: issue S4, models.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cluster/link/model_host.h"
#include "cluster/live/node_figures.h"
#include "cluster/live/replica_table.h"
#include "cluster/models/model_peer.h"
#include "cluster/plan_fence.h"
#include "core/clock.h"
#include "server/event_log.h"
#include "server/task_pool.h"
#include "server/task_thread.h"

namespace evenkeel {

struct NodeModelsOptions {
  std::string own;            // this node's name
  std::string models, state;  // folders
  int64_t copy_rate_bytes_s = int64_t{64} << 20;
  // Figures reach every node within it, and what they changed has been seen.
  Duration heard_everywhere = std::chrono::milliseconds(2500);
  // A plan that was stored is read by every node within it.
  Duration plan_patience = std::chrono::seconds(3);
};

class NodeModels final : public ModelHost {
 public:
  static constexpr int kMostWaiting = 64;  // lists, pieces and departures that were asked for, each
  static constexpr size_t kMostDepartures = 8;  // that run side by side

  // This server's models, as ModelRegistry has them. On any thread; each `done` once.
  struct Models {
    using Has = std::function<bool(const std::string& model)>;
    using Do = std::function<void(const std::string& model, std::function<void(Status)> done)>;
    Has known, serves;
    Do load, unload;
  };
  // On any thread.
  struct Cluster {
    std::function<std::vector<ReplicaTable::NodeView>()> look;  // the own node first
    std::function<std::unique_ptr<ModelPeer>(const std::string& node)>
        link_to;                            // null: there is no such node
    std::function<void()> figures_changed;  // others are to hear of it now
  };
  NodeModels(NodeModelsOptions options, Models models, EventLog& events, const Clock& clock,
             Cluster cluster);
  ~NodeModels() override;
  // Ends what is under way; every `done` comes without a wait, those of models that are being loaded when they are.
  void Stop();

  void ListModel(std::string model, std::function<void(Result<ModelListing>)> done) override;
  void ReadPiece(FilePiece piece, std::function<void(Result<std::string>)> done) override;
  Status Deploy(const DeployOrder& order) override;
  DeployProgress Progress(const std::string& model, const std::string& digest) const override;
  void Undeploy(UndeployOrder order, std::function<void(Status)> done) override;

  // What is about to be unloaded is taken out of the models, and told as leaving.
  void HideLeaving(NodeFigures* figures);
  // A plan of that stamp is in the store, as this node itself has read: orders of older ones are refused from now on.
  void KnowPlan(const PlanStamp& stamp);
  // Whether what comes from that plan may be done, by what is known here now; nullopt: people asked. Errors: as PlanFence::Check().
  Status LookAtPlan(const std::optional<PlanStamp>& plan) const;
  // For how long a plan that is not known yet is waited for.
  Duration plan_patience() const { return options_.plan_patience; }

 private:
  struct Arrival {
    DeployOrder order;
    DeployProgress progress;
  };
  void CarryOut(const DeployOrder& order);
  Status Fetch(const DeployOrder& order);
  void Load(const DeployOrder& order);
  struct Leaving {
    bool served = false;   // others had heard that it is served here
    bool certain = false;  // nothing stops it any more
  };
  Status TakeAway(const UndeployOrder& order);
  Status BecomeCertain(const UndeployOrder& order);
  // REQUIRES: mutex_.
  Status CheckPlan(const std::optional<PlanStamp>& plan) const;
  // Blocks for up to `plan_patience` while the plan is not known here.
  Status AwaitPlan(const std::optional<PlanStamp>& plan);
  // Others are to hear that the model leaves; error kUnavailable only where its plan is not known.
  Status Admit(const UndeployOrder& order);
  Status Depart(const UndeployOrder& order);
  // `change(progress)` where that order is still the latest for its model.
  template <typename Change>
  void Note(const DeployOrder& order, Change change);
  bool Wait(Duration time);  // false: stopped

  const NodeModelsOptions options_;
  const Models models_;
  EventLog& events_;
  const Clock& clock_;
  const Cluster cluster_;
  ModelFiles files_;
  std::atomic<bool> stopped_{false};
  std::atomic<int> lists_waiting_{0}, pieces_waiting_{0}, departures_waiting_{0};

  mutable std::mutex mutex_;  // guards what follows; not held while anything is done
  std::condition_variable wake_;
  std::map<std::string, Arrival, std::less<>> arrivals_;  // by model; the latest order
  std::map<std::string, Leaving, std::less<>> leaving_;
  PlanFence fence_;
  std::vector<ModelPeer*> sources_;  // of the copy that runs

  // Last: they end before what their tasks use.
  TaskThread lists_, pieces_, copies_;
  TaskPool departures_{kMostDepartures};
};

}  // namespace evenkeel
