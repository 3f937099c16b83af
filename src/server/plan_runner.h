// Carries out a plan of the cluster by itself, as `evenkeel plan --apply` does for people: stores it, loads, waits until they serve, unloads elsewhere.
//
// Contract: plans are carried out one after the other on a thread of its own; one that waits is replaced by a newer one. Where the cluster has a store, a plan is stored first, and what it orders
//   carries its stamp, so that nodes which know a newer one refuse it; if it can't be stored nothing moves, and an event says so (fail static). What comes to hinder moves meanwhile
//   (a store that is away, many nodes lost at once) ends a plan before its next step: what was loaded serves, what was to go stays. A step that fails ends its plan, with an event
//   that says why: no model is without a replica. Models that the plan does not name stay as they are.
//   A plan with "leaves" is to take one replica away and nothing else: where that is not what it comes to, since who serves the model has changed, nothing is done, and an event says so.
// Ownership: what it is made with outlives it. Thread-safety: thread-safe, but for Stop() and destruction; set_store() before the first Run(). Source: B9; steps by cluster/models/apply_steps.h.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cluster/live/replica_table.h"
#include "cluster/models/apply_steps.h"
#include "cluster/stored_plan.h"
#include "core/clock.h"
#include "frontends/deploy_request.h"
#include "server/event_log.h"
#include "server/task_thread.h"

namespace evenkeel {

// The models of `placement` ({place: [model]}; "desk/CUDA" is a place of node desk; a model with replicas stands at each of its places) with the nodes that serve them, and what is free on those.
// Error kInvalidArgument: no such object, or a model that no node serves.
struct PlannedCluster {
  std::vector<PlannedModel> models;
  std::vector<PlannedNode> nodes;
};
Result<PlannedCluster> ReadPlacement(const nlohmann::json& placement,
                                     const std::vector<ReplicaTable::NodeView>& nodes);

class PlanRunner {
 public:
  // For one model on one node.
  static constexpr Duration kPatience = std::chrono::minutes(10);

  using Done = std::function<void(Result<nlohmann::json>)>;
  // What it sees of the cluster and does in it: as ClusterDeploys has them.
  struct Cluster {
    std::function<std::vector<ReplicaTable::NodeView>()> look;
    std::function<void(DeployRequest, Done)> deploy;
    std::function<void(UndeployRequest, Done)> undeploy;
    std::function<nlohmann::json()> deploys;
  };
  PlanRunner(Cluster cluster, EventLog& events, const Clock& clock = SteadyClock::Instance());
  ~PlanRunner();
  void Stop();

  // Has a plan's text stored: its stamp, or nothing where the cluster has no store. Answers once, also when the server stops. Not set: there is no store.
  using Store =
      std::function<void(std::string text, std::function<void(Result<std::optional<PlanStamp>>)>)>;
  void set_store(Store store);

  // Why nothing may be moved at the moment, asked before each step; "": it may. Not set: it may.
  using Hindrance = std::function<std::string()>;
  void set_hindrance(Hindrance hindrance);

  // `plan`: "placement", and "reason" for the event log; "leaves": the only node that it takes its only model from. Does not wait for it.
  void Run(const nlohmann::json& plan);
  // A plan is being carried out, or waits.
  bool busy() const { return ended_.load() != newest_.load(); }

 private:
  void CarryOut(const nlohmann::json& plan, uint64_t number);
  Result<std::optional<PlanStamp>> StoreFirst(const nlohmann::json& plan);
  Status MayMove();
  Status Make(const ApplyStep& step, const OrderedBy& by, const std::string& why);
  Status AwaitServing(uint64_t deployment, const std::string& node);
  bool Wait(Duration time);  // false: stopped

  const Cluster cluster_;
  EventLog& events_;
  const Clock& clock_;
  std::atomic<uint64_t> newest_{0}, ended_{0};  // plans, by number
  std::mutex mutex_;                            // guards what follows
  std::condition_variable wake_;
  Store store_;
  Hindrance hindrance_;
  bool stopped_ = false;
  TaskThread thread_;  // last
};

}  // namespace evenkeel
