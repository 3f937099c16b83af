// Which of the other nodes are alive, suspect or dead, and whether so many went at once that moves freeze: what a node makes of what it sees (policy/node_health.h,
// policy/mass_loss.h).
//
// Signs: figures that come are an answered probe; old ones, or a link that failed since, are a failed one; a call that its link lost is the data path's. Leases
//   count where the store can be believed.
// Use: Look() about once a second, with all nodes. Nodes that were never heard of and hold no lease are nobody yet; those that drain and then go have left in
//   order, and don't count as lost.
// Contract: pure. Times never fall. Thread-safety: thread-compatible.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/live/replica_table.h"
#include "cluster/policy/mass_loss.h"
#include "cluster/policy/node_health.h"

namespace evenkeel {

// What the store says of leases.
struct HeldLeases {
  std::set<std::string, std::less<>> nodes;  // names of those that hold one
  // It has been there for long enough that who is not named has none; else only who is named counts.
  bool settled = false;
};

class ClusterHealth {
 public:
  // A node that holds no lease, and never did, is new for so long.
  static constexpr Duration kNewcomer = std::chrono::seconds(15);

  struct Change {
    std::string node;  // empty: about moves
    std::string what;  // "node 'attic' is dead", "moves are frozen"
    std::string why;
  };

  // `views`: of all nodes, the own one first. `leases`: null: the store says nothing now. What changed.
  std::vector<Change> Look(const std::vector<ReplicaTable::NodeView>& views,
                           const HeldLeases* leases, Time now);
  void OnLinkFailure(std::string_view node, Time now);

  // Of a node that was looked at; another one is alive.
  Health Of(std::string_view node) const;
  std::string_view WhyOf(std::string_view node) const;
  bool frozen() const { return loss_.frozen(); }
  std::string why_frozen() const { return loss_.why(); }

 private:
  struct Node {
    NodeHealth health;
    Health last = Health::kAlive;
    bool leased = false;  // it has held a lease
    Time since{};         // first seen
  };

  std::map<std::string, Node, std::less<>> nodes_;
  MassLoss loss_;
};

}  // namespace evenkeel
