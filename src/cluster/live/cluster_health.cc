#include "cluster/live/cluster_health.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {

std::vector<ClusterHealth::Change> ClusterHealth::Look(
    const std::vector<ReplicaTable::NodeView>& views, const HeldLeases* leases, Time now) {
  std::vector<Change> changes;
  std::vector<NodePresence> presence;
  std::map<std::string, Node, std::less<>> kept;
  for (size_t i = 0; i < views.size(); ++i) {
    const ReplicaTable::NodeView& view = views[i];
    if (view.gone) continue;
    if (i == 0) {
      presence.push_back({view.name, true});
      continue;
    }
    const bool leased = leases != nullptr && leases->nodes.contains(view.name);
    auto known = nodes_.find(view.name);
    if (known == nodes_.end() && !view.known && !leased) continue;
    Node node = known == nodes_.end() ? Node() : std::move(known->second);
    if (known == nodes_.end()) node.since = now;
    if (view.known) node.health.OnProbe(!view.failed && view.age_s <= ReplicaTable::kStale, now);
    node.leased = node.leased || leased;
    // Figures of a node that starts are here before its lease is.
    const bool may_lack = node.leased || now - node.since > kNewcomer;
    if (leased || (leases != nullptr && leases->settled && may_lack))
      node.health.OnLease(leased, now);
    const Health health = node.health.At(now);
    if (health != node.last) {
      changes.push_back(
          {view.name, fmt::format("node '{}' is {}", view.name, NameOf(health)),
           health == Health::kAlive ? "no bad sign for a while" : std::string(node.health.why())});
      node.last = health;
    }
    if (!view.figures.draining) presence.push_back({view.name, health == Health::kAlive});
    kept.insert_or_assign(view.name, std::move(node));
  }
  nodes_ = std::move(kept);
  const bool was_frozen = loss_.frozen();
  loss_.Observe(presence, now);
  if (loss_.frozen() != was_frozen) {
    constexpr std::string_view kFrozen = "moves are frozen";
    const std::string why = loss_.why();  // begins with that
    changes.push_back({"", std::string(loss_.frozen() ? kFrozen : "moves are free again"),
                       loss_.frozen()
                           ? why.substr(std::min(why.size(), kFrozen.size() + 2))
                           : std::string("most nodes are there again, or were taken off")});
  }
  return changes;
}

void ClusterHealth::OnLinkFailure(std::string_view node, Time now) {
  const auto known = nodes_.find(node);
  if (known != nodes_.end()) known->second.health.OnDataPath(false, now);
}

Health ClusterHealth::Of(std::string_view node) const {
  const auto known = nodes_.find(node);
  return known != nodes_.end() ? known->second.last : Health::kAlive;
}

std::string_view ClusterHealth::WhyOf(std::string_view node) const {
  const auto known = nodes_.find(node);
  return known != nodes_.end() ? known->second.health.why() : "";
}

}  // namespace evenkeel
