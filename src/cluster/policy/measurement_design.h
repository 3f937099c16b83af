// Which pairs of a task and a node are worth measuring: few, on purpose, so that the others can be predicted and a plan stands on what was measured (B5).
//
// First a few nodes a task, spread so that every node is as often among them as every other, and as often together with each. Then, in
//   rounds, what a plan by the costs so far would use and nobody has measured: first where most seconds are not certain, cost x (e^deviation - 1). A cost that was
//   predicted too low draws the plan to itself, is measured, and draws no more; one that turns out cheap stays.
// The plan that is carried out reckons what nobody measured dearer, by kCare standard deviations: while there is more to measure, an optimist learns; who has to live with the
//   plan is careful. (16 nodes, 200 tasks, a fifth of the pairs: a makespan of 1.09 of full knowledge's, 1.10 by the expected costs alone.)
// Contract: an impossible pair is never asked for. Deterministic. Thread-safety: pure.
#pragma once

#include <Eigen/Dense>

#include <vector>

#include "cluster/policy/factorisation.h"
#include "cluster/policy/shares.h"

namespace evenkeel {

struct TaskOnNode {
  int task = 0, node = 0;
};

// `each` nodes a task, or as many as can run it.
std::vector<TaskOnNode> FirstPairs(const Eigen::MatrixXd& roofline, int each = 2);

// `plan`: by task, the nodes that it is on. At most `most`; none: the plan uses nothing but what was measured. REQUIRES: shapes alike.
std::vector<TaskOnNode> NextPairs(const Completion& costs, const Holders& plan, int most);

// Costs to carry a plan out by.
inline constexpr double kCare = 0.7;
Eigen::MatrixXd CarefulCosts(const Completion& costs);

}  // namespace evenkeel
