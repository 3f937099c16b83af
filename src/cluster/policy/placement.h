// Which node runs which task: the problem that the policies of this room solve, a solution, and how good one is.
//
// Units: seconds, bytes. Rows are tasks, columns are nodes. An infinite cost: this task can't run there.
// Replicas: tasks of one model share its work, and no node has two of them.
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
  // By task: tasks of one number are replicas of one model. Empty: none are.
  std::vector<int> replica_of;
  // By column: which server it belongs to, as with a processor and its accelerators. Empty: each to its own. Looked at for replicas only.
  std::vector<int> host;

  int tasks() const { return static_cast<int>(seconds.rows()); }
  int nodes() const { return static_cast<int>(seconds.cols()); }
  bool possible(int task, int node) const { return seconds(task, node) < kImpossible; }
  int host_of(int node) const { return host.empty() ? node : host[static_cast<size_t>(node)]; }
};

// Which servers have a replica of which model, while tasks are placed. Where the problem has no replicas everything is allowed.
// Ownership: the problem outlives it.
class Apart {
 public:
  explicit Apart(const PlacementProblem& problem);
  // Whether no other replica of the task's model is there. `at`: where the task is and would leave; -1: nowhere.
  bool Allows(int task, int node, int at = -1) const {
    if (count_.empty()) return true;
    const bool own = at >= 0 && problem_->host_of(at) == problem_->host_of(node);
    return count_[Cell(task, node)] == (own ? 1 : 0);
  }
  // Two of one model gain nothing by changing places.
  bool SameModel(int a, int b) const {
    return !count_.empty() && problem_->replica_of[static_cast<size_t>(a)] ==
                                  problem_->replica_of[static_cast<size_t>(b)];
  }
  void Put(int task, int node) {
    if (!count_.empty()) ++count_[Cell(task, node)];
  }
  void Take(int task, int node) {
    if (!count_.empty()) --count_[Cell(task, node)];
  }

 private:
  size_t Cell(int task, int node) const {
    return static_cast<size_t>(problem_->replica_of[static_cast<size_t>(task)]) * hosts_ +
           static_cast<size_t>(problem_->host_of(node));
  }
  const PlacementProblem* problem_;
  size_t hosts_ = 0;
  std::vector<int> count_;  // models x servers
};

// By task: its node. A whole one has none below 0.
using Placement = std::vector<int>;

// kInvalidArgument, naming what does not fit: sizes, negative or not-a-number costs, edges to nowhere or in a circle. kNotFound: a
// task that no node can run. kUnavailable: a model with more replicas than nodes that can run one.
Status CheckProblem(const PlacementProblem& problem);

// Tasks so that none stands before one that it needs. REQUIRES: no cycle.
std::vector<int> TopologicalOrder(int tasks, const std::vector<TaskEdge>& edges);

struct PlacementScore {
  double makespan_s = kImpossible;  // when the last node is done, present load included
  double total_s = kImpossible;     // of all tasks, transfers not
  bool operator<(const PlacementScore& other) const;
};

// Whether each task may run where it is, no two replicas of a model are on one server, and what all of a node's take fits.
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
