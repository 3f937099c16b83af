// The best placement of few tasks, by looking at all that could be better (branch and bound).
//
// Use for: tasks that do not depend on each other, about a dozen. Contract: `start`, or a placement that fits with a smaller makespan; the smallest there is, unless
//   `most_visits` partial placements were not enough. Deterministic. Thread-safety: pure.
#pragma once

#include <cstdint>

#include "cluster/policy/placement.h"

namespace evenkeel {

// REQUIRES: Fits(problem, start), no edges.
Placement SearchAll(const PlacementProblem& problem, const Placement& start,
                    int64_t most_visits = 300'000);

}  // namespace evenkeel
