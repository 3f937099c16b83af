// From where the models serve to where a plan wants them: the steps, in an order that never leaves a model without a replica and never overfills a node.
//
// How it goes: a model that serves where it is wanted is unloaded elsewhere; else a load that fits is made; else a replica that is not wanted, and not the last, goes to make room. Where
//   models are in each other's way, one gets a replica for the time being on a node that has room, once each. An order is looked for first in which a model that serves on several nodes and
//   is to go on so never serves on one alone; only where there is none, one in which it may.
// Contract: after each step every model has at least one replica and no node's free memory is below 0; after the last, exactly those that are wanted. A model that is not wanted
//   anywhere is not named by the plan, and stays as it is.
// Errors: kInvalidArgument (unknown node; a model that serves nowhere), kUnavailable: no such order was found, with the load that is stuck.
// Thread-safety: pure. Source: issue S4, `plan --apply`.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/status.h"

namespace evenkeel {

struct PlannedModel {
  std::string name;
  int64_t memory_bytes = 0;       // of a replica
  std::set<std::string> serving;  // nodes
  std::set<std::string> wanted;   // nodes
};

struct PlannedNode {
  std::string name;
  int64_t free_memory_bytes = 0;  // beside what serves there now
};

struct ApplyStep {
  bool load = true;  // else: unload
  std::string model, node;
  bool for_now = false;  // a load that makes room for others, and is undone
  bool operator==(const ApplyStep&) const = default;
};

Result<std::vector<ApplyStep>> StepsToPlan(std::vector<PlannedModel> models,
                                           std::vector<PlannedNode> nodes);

}  // namespace evenkeel
