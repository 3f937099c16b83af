// What of each task's work goes to which of the nodes that can do it, where several can: as evenly as routing could at best.
//
// Use for: replicas of models, whose calls go to whichever answers first. Not for: tasks that depend on each other.
// How it goes: work is taken off the busiest node until it is level with another that can do it, the exchange that costs least first, until nothing helps. The level of the busiest node
//   never rises meanwhile, and ends within a few hundredths of the least possible.
// Deterministic. Units: seconds. Thread-safety: pure.
#pragma once

#include <Eigen/Dense>

#include <vector>

#include "cluster/policy/placement.h"

namespace evenkeel {

// By task: nodes that can do it, each named once.
using Holders = std::vector<std::vector<int>>;

struct SharedWork {
  Eigen::MatrixXd of;          // tasks x nodes, rows sum to 1
  std::vector<double> levels;  // seconds of each node, present load included

  int busiest() const;  // REQUIRES: there is a node
  double makespan_s() const { return levels[static_cast<size_t>(busiest())]; }
  double TotalSeconds(const PlacementProblem& problem) const;
};

// All of a task's work on the holder that does it fastest; where several do, the first.
// REQUIRES here and below: every task has a holder, and its seconds there are finite.
SharedWork AtTheirBest(const PlacementProblem& problem, const Holders& holders);
// An equal part to each holder.
SharedWork InEqualParts(const PlacementProblem& problem, const Holders& holders);
// From `start` to where nothing helps. REQUIRES: what `start` gives to a node, a holder has.
SharedWork ShareOut(const PlacementProblem& problem, const Holders& holders, SharedWork start,
                    int most_rounds = 1000);

}  // namespace evenkeel
