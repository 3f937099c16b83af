// The cluster's keys as they lie in the store, and what they mean.
//
//   /evenkeel/CLUSTER/nodes/ID                 a NodeRecord, under the node's lease
//   /evenkeel/CLUSTER/leader/HISTORY/LEASE     a candidate's node id, under its lease. Of those of the present history the oldest leads
//   /evenkeel/CLUSTER/plan                     a StoredPlan; its revision is the key's
//   /evenkeel/CLUSTER/removed/ID               a node that was taken off the cluster: by which one
//   /evenkeel/CLUSTER/history                  how often the store was put back to an older state; missing: never
// Contract: pure. What is malformed counts as not there and is named in trouble(). Keys of other forms are ignored. At most kMostKeys are kept.
// Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/kv_store.h"
#include "cluster/membership.h"

namespace evenkeel {

class StoreTable {
 public:
  static constexpr size_t kMostKeys = 10'000;

  explicit StoreTable(std::string cluster);

  const std::string& prefix() const { return prefix_; }
  std::string NodeKey(std::string_view id) const;
  std::string LeaderKey(int64_t history, int64_t lease) const;
  std::string PlanKey() const;
  std::string HistoryKey() const;
  std::string RemovedKey(std::string_view id) const;

  // Errors: kTooLarge over kMostKeys; the table is then empty.
  Status Reset(const KvSnapshot& snapshot);
  void Apply(const KvChanges& changes);

  int64_t revision() const { return revision_; }
  int64_t history() const { return history_; }
  int64_t history_modified() const { return history_modified_; }  // 0: the key is missing
  std::vector<NodeRecord> Nodes() const;                          // but those that were removed
  std::vector<std::string> Removed() const { return {removed_.begin(), removed_.end()}; }
  std::optional<Leader> leader() const;
  // The leader's key; empty: there is none.
  std::string LeadersKey() const;
  std::shared_ptr<const StoredPlan> plan() const { return plan_; }  // null: none
  // Of nodes and candidates, also malformed ones. Null: not there.
  const KeyValue* Find(const std::string& key) const;
  std::string trouble() const;  // the first of it; empty: none

 private:
  struct Entry {
    KeyValue stored;
    std::optional<NodeRecord> node;  // of a node's key that is well-formed
    std::string trouble;
  };

  void Change(const KeyValue& change);
  void ChangeRemoved(std::string_view id, bool gone);
  void ChangeKept(bool is_node, const KeyValue& change);
  const KeyValue* LeadersEntry() const;

  const std::string cluster_;
  const std::string prefix_;
  int64_t revision_ = 0;
  int64_t history_ = 0;
  int64_t history_modified_ = 0;
  std::map<std::string, Entry> entries_;  // nodes and candidates
  std::set<std::string, std::less<>> removed_;
  std::shared_ptr<const StoredPlan> plan_;
  std::string history_trouble_, plan_trouble_;
  bool too_many_ = false;
};

}  // namespace evenkeel
