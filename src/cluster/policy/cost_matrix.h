// What each task costs on each place, before anything is measured (B3).
//
// Ours: the roofline, seconds = overhead + max(GFLOP / free GFLOP/s, GB / free GB/s). A pair that can't be has an infinite cost and a reason that
//   says what is short by how much.
// Method: the weighted sum of demand_r / available_r over compute, memory bandwidth and memory.
// Shapes: tasks x places. Thread-safety: pure. Source: B3.
#pragma once

#include <Eigen/Dense>

#include <string>
#include <vector>

#include "cluster/place.h"
#include "cluster/resource_vector.h"
#include "cluster/task.h"

namespace evenkeel {

struct CostMatrix {
  Eigen::MatrixXd seconds;                        // infinite: it can't be
  std::vector<std::vector<std::string>> reasons;  // by task, place; empty: it can
};

CostMatrix Roofline(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes);

struct MethodWeights {
  double compute = 1, bandwidth = 1, memory = 1;
};
// The same pairs are possible; the numbers are without a unit.
CostMatrix WeightedDemand(const std::vector<Task>& tasks, const std::vector<NodeState>& nodes,
                          const MethodWeights& weights = {});

}  // namespace evenkeel
