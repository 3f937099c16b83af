// The best placement of few tasks, by looking at all that could be better (branch and bound).
//
// Use for: tasks that do not depend on each other, about a dozen. Contract: a placement that fits with a smaller makespan than `start`, else `start`; the smallest there is, unless
//   `most_visits` partial placements were not enough. Nothing: there was no start, and none was found. Deterministic. Thread-safety: pure.
#pragma once

#include <cstdint>
#include <optional>

#include "cluster/policy/placement.h"

namespace evenkeel {

// REQUIRES: Fits(problem, *start) where there is one; no edges.
std::optional<Placement> SearchAll(const PlacementProblem& problem,
                                   const std::optional<Placement>& start,
                                   int64_t most_visits = 300'000);

}  // namespace evenkeel
