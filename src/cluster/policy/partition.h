// Divides tasks into one set a node, from what the factorisation says of them (B5).
//
// Ours: tasks are grouped by what distinguishes them (the leading singular vectors of the logarithm of their costs, each task's own mean taken off), groups are mapped to
//   nodes at least cost (assignment problem), and what does not fit a node's memory moves to where it costs least. `Improve` then lowers the
//   objective of placement.h by moving and swapping tasks until nothing helps, and from kicked copies of the best while the budget lasts.
// Method: the cost matrix itself, non-negative of a rank of as many components as nodes; components belong to nodes one to one, where they cost least; a task goes to the
//   node of its largest component, and what does not fit moves to the next largest. Our reading: the claim leaves open whose a component is.
// Contract: a returned placement fits. Nothing: none was found (memory may be too tight for these rules).
// Deterministic. Thread-safety: pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cluster/policy/placement.h"

namespace evenkeel {

std::optional<Placement> PartitionByFactors(const PlacementProblem& problem);
std::optional<Placement> PartitionByMethod(const PlacementProblem& problem);

struct ImproveOptions {
  int64_t most_trials = 2'000'000;  // single moves or swaps looked at
  uint64_t seed = 1;
};
// Never worse than `start`. REQUIRES: Fits(problem, start).
Placement Improve(const PlacementProblem& problem, const Placement& start,
                  const ImproveOptions& options = {});

// Rows to columns one to one so that the sum is least; by row: its column. REQUIRES: a square matrix of finite numbers.
// Source: the Hungarian method in Jonker's form with potentials, O(n^3).
std::vector<int> Assign(const Eigen::MatrixXd& costs);

}  // namespace evenkeel
