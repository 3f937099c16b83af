// Which node runs which task: the problem that the policies of this room solve, a solution, and how good one is.
//
// Units: seconds, bytes. Rows are tasks, columns are nodes. An infinite cost: this task can't run there.
// The objective: makespan first, then the sum of all costs. Two makespans within 1e-9 of each other are equal.
// Thread-safety: thread-compatible; all functions are pure.
// Source: B3 to B6.
#pragma once

#include <Eigen/Dense>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"

namespace evenkeel {

inline constexpr double kImpossible = std::numeric_limits<double>::infinity();

// `after` takes `bytes` from `before`: it starts when they have come.
struct TaskEdge {
  int before = 0, after = 0;
  int64_t bytes = 0;
};

struct PlacementProblem {
  Eigen::MatrixXd seconds;        // tasks x nodes, > 0
  std::vector<int64_t> memory;    // bytes of a task, by task
  std::vector<int64_t> room;      // bytes that tasks may take, by node
  std::vector<double> present_s;  // load that a node has already, by node
  std::vector<TaskEdge> edges;    // without a cycle; empty: the tasks do not depend on each other
  Eigen::MatrixXd bytes_per_s;    // nodes x nodes; needed where there are edges
  Eigen::MatrixXd latency_s;      // nodes x nodes; needed where there are edges

  int tasks() const { return static_cast<int>(seconds.rows()); }
  int nodes() const { return static_cast<int>(seconds.cols()); }
  bool possible(int task, int node) const { return seconds(task, node) < kImpossible; }
};

// By task: its node. A whole one has none below 0.
using Placement = std::vector<int>;

// kInvalidArgument, naming what does not fit: sizes, negative or not-a-number costs, edges to nowhere or in a circle. kNotFound: a
// task that no node can run.
Status CheckProblem(const PlacementProblem& problem);

// Tasks so that none stands before one that it needs. REQUIRES: no cycle.
std::vector<int> TopologicalOrder(int tasks, const std::vector<TaskEdge>& edges);

struct PlacementScore {
  double makespan_s = kImpossible;  // when the last node is done, present load included
  double total_s = kImpossible;     // of all tasks, transfers not
  bool operator<(const PlacementScore& other) const;
};

// Whether each task may run where it is, and what all of a node's take fits.
bool Fits(const PlacementProblem& problem, const Placement& placement);
// REQUIRES: a whole placement. With edges: nodes run their tasks in topological order, each as soon as what it needs is there.
PlacementScore Score(const PlacementProblem& problem, const Placement& placement);
// Seconds of each node, present load included.
std::vector<double> LoadsOf(const PlacementProblem& problem, const Placement& placement);

// Longest processing time first: each task, the longest first, to the node that is done with it soonest. Nothing where one
// finds no room.
std::optional<Placement> LongestFirst(const PlacementProblem& problem);
// All on the one node that does it best. Nothing where none can.
std::optional<Placement> BestSingleNode(const PlacementProblem& problem);

}  // namespace evenkeel
