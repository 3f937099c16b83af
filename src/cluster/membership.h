// What a node knows of its cluster, and how it takes part: who is there, who leads, which plan holds.
//
// Use for: small facts that all nodes must agree on. Not for: load figures (they go from node to node), requests, models.
// Contract: nothing blocks. What happens is seen in View(), a value; `on_change` (given to the implementation) is called after each change on the loop's
//   thread, with no lock held. A view that is not `connected` is the last known one: nothing may be concluded from who is missing in it, and nothing
//   can be changed (fail static). Whether a node is dead is not said here: a lease that lapsed is one reason of several (policy/node_health.h).
// Implementations: StoreMembership over a KvStore (etcd/etcd_store.h; MemoryStore in tests), SingleMembership for one node.
// Thread-safety: View() is thread-safe; the rest on the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/node_record.h"
#include "cluster/stored_plan.h"
#include "core/status.h"

namespace evenkeel {

struct Leader {
  std::string node;  // id
  Term term;
  bool operator==(const Leader&) const = default;
};

struct ClusterView {
  uint64_t serial = 0;            // greater in every later view
  bool connected = false;         // what follows is the store's present state, or was a moment ago
  std::string trouble;            // why not, or what an operator should know; empty: nothing
  int64_t history = 0;            // see Term
  int64_t revision = 0;           // of the store, that this shows
  std::vector<NodeRecord> nodes;  // whose lease is held, by id; none of those that were removed
  std::vector<std::string> removed;  // ids that were taken off the cluster for good, ascending
  bool joined = false;               // this node is among them
  std::optional<Leader> leader;
  // This node is the leader, and its lease is certain to be held still, by its own clock.
  bool leading = false;
  // The newest that was stored, never one older than shown before; it stays while the store has none that is newer. Null: none yet.
  std::shared_ptr<const StoredPlan> plan;

  bool operator==(const ClusterView&) const = default;
};

class Membership {
 public:
  using PublishDone = std::function<void(Result<PlanStamp>)>;
  using ChangeDone = std::function<void(Status)>;

  virtual ~Membership() =
      default;  // as a crash would: leases lapse by themselves. No callback afterwards

  // From now on this node is one of the cluster's, under a lease that is kept. Again with the same id: replaces the record.
  // Errors: as CheckNodeRecord(); kConflict: another process has taken this node's id since (view().trouble says so; only a new incarnation joins again).
  virtual Status Join(const NodeRecord& self) = 0;
  // Gives the lease back, so that the others see it at once. `done` once the store said so or a deadline passed.
  virtual void Leave(std::function<void()> done) = 0;
  // Whether this node wants to lead. Effective while it is joined.
  virtual void Campaign(bool wanted) = 0;
  // Stores a plan made under plan.stamp.term. `done` comes once, never within the call. Errors: kConflict (this node does not lead under that term, or did
  // not any more when the store looked: the plan is not stored), kUnavailable (no store; whether it is stored will be seen in the view), and those of
  // WriteStoredPlan().
  virtual void Publish(StoredPlan plan, PublishDone done) = 0;
  // Takes a node off the cluster with its record, or lets one of that id come again. `done` comes once, never within the call. Errors: kUnavailable (no store;
  // whether it happened will be seen in the view), kInvalidArgument (no id; this node itself), kUnsupported (there are no others).
  virtual void SetRemoved(const std::string& node, bool removed, ChangeDone done) = 0;
  // Never null.
  virtual std::shared_ptr<const ClusterView> View() const = 0;
};

}  // namespace evenkeel
