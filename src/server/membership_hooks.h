// What membership says to the node's side of a cluster that tells figures and routes calls, and what it hears by it. Empty functions: there is no store.
//
// Thread-safety: each may be called on any thread, several at once; none waits for the store.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cluster/live/cluster_health.h"
#include "cluster/live/node_figures.h"
#include "cluster/stored_plan.h"
#include "core/status.h"

namespace evenkeel {

struct MembershipHooks {
  std::function<void(NodeFigures*)> add;              // what it tells with this node's figures
  std::function<void(const NodeFigures&)> hear;       // another node's
  std::function<std::optional<HeldLeases>()> leases;  // nullopt: the store is away
  // As NodeHost::PublishPlan() and Renew().
  std::function<void(std::string, std::function<void(Result<PlanStamp>)>)> publish;
  std::function<Result<std::string>(const std::string&, const std::string&)> renew;
};

}  // namespace evenkeel
