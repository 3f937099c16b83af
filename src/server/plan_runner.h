// Carries out a plan of the cluster by itself, as `evenkeel plan --apply` does for people: loads, waits until they serve, unloads elsewhere.
//
// Contract: plans are carried out one after the other on a thread of its own; one that waits is replaced by a newer one. A step that fails ends its plan, with an event that says why: no model is without
//   a replica. Models that the plan does not name stay as they are.
// Ownership: what it is made with outlives it. Thread-safety: thread-safe, but for Stop() and destruction. Source: B9; steps by cluster/models/apply_steps.h.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cluster/live/replica_table.h"
#include "cluster/models/apply_steps.h"
#include "server/cluster_deploys.h"
#include "server/event_log.h"
#include "server/task_thread.h"

namespace evenkeel {

// The models of `placement` ({place: [model]}; "desk/CUDA" is a place of node desk) with the nodes that serve them, and what is free on those. Error kInvalidArgument: no such object, or a model
// that no node serves.
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

  PlanRunner(std::function<std::vector<ReplicaTable::NodeView>()> look, ClusterDeploys& deploys,
             EventLog& events, const Clock& clock = SteadyClock::Instance());
  ~PlanRunner();
  void Stop();

  // `plan`: "placement", and "reason" for the event log. Does not wait for it.
  void Run(const nlohmann::json& plan);

 private:
  void CarryOut(const nlohmann::json& plan, uint64_t number);
  Status Make(const ApplyStep& step, const std::string& why);
  Status AwaitServing(uint64_t deployment, const std::string& node);
  bool Wait(Duration time);  // false: stopped

  const std::function<std::vector<ReplicaTable::NodeView>()> look_;
  ClusterDeploys& deploys_;
  EventLog& events_;
  const Clock& clock_;
  std::atomic<uint64_t> newest_{0};
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool stopped_ = false;
  TaskThread thread_;  // last
};

}  // namespace evenkeel
