// B7 and B8 on this node: what waits here longer than it would elsewhere is given back to those who sent it, and of what runs, its senders
// are asked to move it, where that repays its cost.
//
// Use for: a look every Rebalancer::kPeriod; calls in between do nothing.
// Thread-safety: thread-compatible; ends of calls come inside Balance(), so no lock that they take may be held.
// Source: B7, B8, issue S4; cluster/live/rebalance.h has the policy.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "cluster/live/rebalance.h"
#include "cluster/live/replica_table.h"
#include "core/clock.h"
#include "server/event_log.h"
#include "server/model_registry.h"

namespace evenkeel {

class ClusterBalance {
 public:
  ClusterBalance(ModelRegistry& registry, EventLog& events, BalanceRule rule)
      : registry_(registry), events_(events), rebalancer_(rule) {}

  bool Due(Time now) const { return now >= at_; }
  // `views`: of all nodes, the own one first. Each move that was made is noted with what it gains.
  void Balance(Time now, const std::vector<ReplicaTable::NodeView>& views);
  // Calls that were given on, and asked to move, since the start; of both, in the last minute. On any thread.
  struct Moved {
    uint64_t queued = 0, sequences = 0;
    int lately = 0;
  };
  Moved moved() const { return {queued_.load(), sequences_.load(), lately_.load()}; }

 private:
  using Models = std::vector<std::shared_ptr<ModelVersion>>;
  using Languages = std::vector<std::shared_ptr<LlmModel>>;
  std::vector<Rebalancer::Move> Plan(Time now, const std::vector<ReplicaTable::NodeView>& views,
                                     const Models& models, const Languages& languages);

  void CountLately(Time now);

  ModelRegistry& registry_;
  EventLog& events_;
  Rebalancer rebalancer_;
  Time at_{};
  std::deque<std::pair<Time, int64_t>> recent_;  // moves of the last minute
  std::atomic<uint64_t> queued_{0}, sequences_{0};
  std::atomic<int> lately_{0};
};

}  // namespace evenkeel
