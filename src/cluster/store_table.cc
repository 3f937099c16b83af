#include "cluster/store_table.h"

#include <algorithm>
#include <utility>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr std::string_view kNodes = "nodes/";
constexpr std::string_view kLeader = "leader/";
constexpr std::string_view kRemoved = "removed/";
constexpr std::string_view kPlan = "plan";
constexpr std::string_view kHistory = "history";
constexpr int64_t kMostHistory = 1'000'000'000;

}  // namespace

StoreTable::StoreTable(std::string cluster)
    : cluster_(std::move(cluster)), prefix_(fmt::format("/evenkeel/{}/", cluster_)) {}

std::string StoreTable::NodeKey(std::string_view id) const {
  return fmt::format("{}{}{}", prefix_, kNodes, id);
}

std::string StoreTable::LeaderKey(int64_t history, int64_t lease) const {
  return fmt::format("{}{}{}/{:016x}", prefix_, kLeader, history, static_cast<uint64_t>(lease));
}

std::string StoreTable::PlanKey() const { return fmt::format("{}{}", prefix_, kPlan); }

std::string StoreTable::HistoryKey() const { return fmt::format("{}{}", prefix_, kHistory); }

std::string StoreTable::RemovedKey(std::string_view id) const {
  return fmt::format("{}{}{}", prefix_, kRemoved, id);
}

Status StoreTable::Reset(const KvSnapshot& snapshot) {
  entries_.clear();
  removed_.clear();
  plan_.reset();
  history_ = history_modified_ = 0;
  history_trouble_.clear();
  plan_trouble_.clear();
  too_many_ = false;
  revision_ = snapshot.revision;
  if (snapshot.keys.size() > kMostKeys)
    return TooLarge("the store has {} keys below {}; at most {} are read", snapshot.keys.size(),
                    prefix_, kMostKeys);
  for (const KeyValue& key : snapshot.keys) Change(key);
  return Status::Ok();
}

void StoreTable::Apply(const KvChanges& changes) {
  for (const KeyValue& key : changes.keys) Change(key);
  revision_ = std::max(revision_, changes.revision);
}

void StoreTable::Change(const KeyValue& change) {
  const std::string_view key = change.key;
  if (!key.starts_with(prefix_)) return;
  const std::string_view name = key.substr(prefix_.size());
  const bool gone = change.created == 0;
  if (name == kHistory) {
    const auto number = ParseInt(gone ? "0" : std::string_view(change.value), 0, kMostHistory);
    history_ = number.ok() ? *number : 0;
    history_modified_ = gone ? 0 : change.modified;
    history_trouble_ = number.ok() ? "" : fmt::format("{}: {}", key, number.status().message());
  } else if (name == kPlan) {
    plan_.reset();
    plan_trouble_.clear();
    if (gone) return;
    auto plan = ParseStoredPlan(change.value);
    if (plan.ok() && plan->cluster != cluster_)
      plan = Conflict("the plan is of cluster {}", plan->cluster);
    if (!plan.ok()) {
      plan_trouble_ = fmt::format("{}: {}", key, plan.status().message());
      return;
    }
    plan->stamp.revision = change.modified;
    plan_ = std::make_shared<const StoredPlan>(std::move(*plan));
  } else if (name.starts_with(kRemoved)) {
    ChangeRemoved(name.substr(kRemoved.size()), gone);
  } else if (name.starts_with(kNodes)) {
    ChangeKept(true, change);
  } else if (name.starts_with(kLeader)) {
    ChangeKept(false, change);
  }
}

void StoreTable::ChangeRemoved(std::string_view id, bool gone) {
  if (gone) {
    removed_.erase(std::string(id));
  } else if (IsNodeId(id) && removed_.size() < kMostKeys) {
    removed_.emplace(id);
  }
}

void StoreTable::ChangeKept(bool is_node, const KeyValue& change) {
  if (change.created == 0) {
    entries_.erase(change.key);
    return;
  }
  if (entries_.size() >= kMostKeys && !entries_.contains(change.key)) {
    too_many_ = true;
    return;
  }
  Entry entry;
  entry.stored = change;
  if (is_node) {
    auto node = ParseNodeRecord(change.value);
    if (node.ok() && NodeKey(node->id) != change.key)
      node = InvalidArgument("the record is of node {}", node->id);
    if (node.ok()) {
      entry.node = std::move(*node);
    } else {
      entry.trouble = fmt::format("{}: {}", Excerpt(change.key, 200), node.status().message());
    }
  } else if (!IsNodeId(change.value)) {
    entry.trouble = fmt::format("{}: expected a node's id, got {}", Excerpt(change.key, 200),
                                Excerpt(change.value));
  }
  entries_.insert_or_assign(change.key, std::move(entry));
}

std::vector<NodeRecord> StoreTable::Nodes() const {
  std::vector<NodeRecord> nodes;
  for (const auto& [key, entry] : entries_) {
    if (entry.node && !removed_.contains(entry.node->id)) nodes.push_back(*entry.node);
  }
  return nodes;
}

const KeyValue* StoreTable::LeadersEntry() const {
  const std::string prefix = fmt::format("{}{}{}/", prefix_, kLeader, history_);
  const KeyValue* oldest = nullptr;
  for (auto at = entries_.lower_bound(prefix); at != entries_.end(); ++at) {
    const KeyValue& stored = at->second.stored;
    if (!stored.key.starts_with(prefix)) break;
    if (!at->second.trouble.empty()) continue;
    if (oldest == nullptr || stored.created < oldest->created) oldest = &stored;
  }
  return oldest;
}

std::optional<Leader> StoreTable::leader() const {
  const KeyValue* const oldest = LeadersEntry();
  if (oldest == nullptr) return std::nullopt;
  return Leader{oldest->value, {history_, oldest->created}};
}

std::string StoreTable::LeadersKey() const {
  const KeyValue* const oldest = LeadersEntry();
  return oldest == nullptr ? "" : oldest->key;
}

const KeyValue* StoreTable::Find(const std::string& key) const {
  const auto at = entries_.find(key);
  return at == entries_.end() ? nullptr : &at->second.stored;
}

std::string StoreTable::trouble() const {
  if (!history_trouble_.empty()) return history_trouble_;
  if (!plan_trouble_.empty()) return plan_trouble_;
  for (const auto& [key, entry] : entries_) {
    if (!entry.trouble.empty()) return entry.trouble;
  }
  return too_many_ ? fmt::format("more than {} keys below {}", kMostKeys, prefix_) : "";
}

}  // namespace evenkeel
