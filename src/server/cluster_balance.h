// B7 and B8 on this node: what waits here longer than it would elsewhere is given back to those who sent it, and of what runs, its senders
// are asked to move it, where that repays its cost.
//
// Use for: a look every Rebalancer::kPeriod; calls in between do nothing.
// Thread-safety: thread-compatible; ends of calls come inside Balance(), so no lock that they take may be held.
// Source: B7, B8, issue S4; cluster/live/rebalance.h has the policy.
#pragma once

#include <memory>
#include <vector>

#include "cluster/live/rebalance.h"
#include "cluster/live/replica_table.h"
#include "core/clock.h"
#include "server/event_log.h"
#include "server/model_registry.h"

namespace evenkeel {

class ClusterBalance {
 public:
  ClusterBalance(ModelRegistry& registry, EventLog& events)
      : registry_(registry), events_(events) {}

  bool Due(Time now) const { return now >= at_; }
  // `views`: of all nodes, the own one first. Each move that was made is noted with what it gains.
  void Balance(Time now, const std::vector<ReplicaTable::NodeView>& views);

 private:
  using Models = std::vector<std::shared_ptr<ModelVersion>>;
  using Languages = std::vector<std::shared_ptr<LlmModel>>;
  std::vector<Rebalancer::Move> Plan(Time now, const std::vector<ReplicaTable::NodeView>& views,
                                     const Models& models, const Languages& languages);

  ModelRegistry& registry_;
  EventLog& events_;
  Rebalancer rebalancer_;
  Time at_{};
};

}  // namespace evenkeel
