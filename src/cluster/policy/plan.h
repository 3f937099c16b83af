// From a problem to an allocation: partition, game, improvement, each step kept, so that the plan explains itself and shows what each was worth.
//
// Contract: `MakePlan` never returns a placement worse, by the objective of placement.h, than longest-processing-time or the best single node.
// Thread-safety: pure. Source: B5, B6; the improvement is ours.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cluster/policy/game.h"
#include "cluster/policy/partition.h"
#include "cluster/policy/placement.h"

namespace evenkeel {

struct PlanStep {
  std::string
      name;  // "factors", "longest first", "single node", "game", "improved", "all looked at"
  Placement placement;
  PlacementScore score;
};

struct Plan {
  Placement placement;
  PlacementScore score;
  std::vector<PlanStep> steps;  // those that found a placement, in their order
  GameResult game;  // from the partition by factors, or from the best start where that found none
};

struct PlanOptions {
  GameWeights weights;
  ImproveOptions improve;
};

// Errors: as CheckProblem; kUnavailable: none of the starts found a placement that fits the nodes' memory.
Result<Plan> MakePlan(const PlacementProblem& problem, const PlanOptions& options = {});
// `method`: non-negative factorisation, then bids; the better of the two stands.
Result<Plan> MakePlanByMethod(const PlacementProblem& problem, const PlanOptions& options = {});

}  // namespace evenkeel
