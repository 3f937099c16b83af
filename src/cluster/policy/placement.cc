#include "cluster/policy/placement.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/cycle.h"
#include "core/format.h"

namespace evenkeel {
namespace {

constexpr double kSame = 1e-9;

size_t Index(int i) { return static_cast<size_t>(i); }

Status CheckSizes(const PlacementProblem& problem) {
  const auto tasks = Index(problem.tasks()), nodes = Index(problem.nodes());
  if (tasks == 0 || nodes == 0)
    return InvalidArgument("{} tasks on {} nodes: expected at least one of each", tasks, nodes);
  if (problem.memory.size() != tasks)
    return InvalidArgument("{} tasks, but the memory of {}", tasks, problem.memory.size());
  if (problem.room.size() != nodes || problem.present_s.size() != nodes)
    return InvalidArgument("{} nodes, but the room of {} and the load of {}", nodes,
                           problem.room.size(), problem.present_s.size());
  if (!problem.host.empty() && problem.host.size() != nodes)
    return InvalidArgument("{} nodes, but the servers of {}", nodes, problem.host.size());
  if (!problem.replica_of.empty() && problem.replica_of.size() != tasks)
    return InvalidArgument("{} tasks, but the models of {}", tasks, problem.replica_of.size());
  if (problem.edges.empty()) return Status::Ok();
  for (const auto* links : {&problem.bytes_per_s, &problem.latency_s}) {
    if (links->rows() != problem.nodes() || links->cols() != problem.nodes())
      return InvalidArgument("{} nodes, but links of {} x {}", nodes, links->rows(), links->cols());
  }
  return Status::Ok();
}

// REQUIRES: the sizes are right.
Status CheckReplicas(const PlacementProblem& problem) {
  if (problem.replica_of.empty()) return Status::Ok();
  for (const int server : problem.host) {
    if (server < 0 || server >= problem.nodes())
      return InvalidArgument("servers: expected 0 to {}, got {}", problem.nodes() - 1, server);
  }
  std::vector<int> replicas(Index(problem.tasks()), 0), first(Index(problem.tasks()), -1);
  for (int task = 0; task < problem.tasks(); ++task) {
    const int model = problem.replica_of[Index(task)];
    if (model < 0 || model >= problem.tasks())
      return InvalidArgument("task {}: its model: expected 0 to {}, got {}", task,
                             problem.tasks() - 1, model);
    if (replicas[Index(model)]++ == 0) first[Index(model)] = task;
  }
  for (int model = 0; model < problem.tasks(); ++model) {
    if (replicas[Index(model)] < 2) continue;
    const int task = first[Index(model)];
    std::set<int> servers;
    for (int node = 0; node < problem.nodes(); ++node) {
      if (problem.possible(task, node) && problem.memory[Index(task)] <= problem.room[Index(node)])
        servers.insert(problem.host_of(node));
    }
    if (std::ssize(servers) < replicas[Index(model)])
      return Unavailable("{} replicas of the model of task {}, but {} servers that can run one",
                         replicas[Index(model)], task, servers.size());
  }
  return Status::Ok();
}

}  // namespace

Apart::Apart(const PlacementProblem& problem) : problem_(&problem) {
  if (problem.replica_of.empty()) return;
  hosts_ = Index(problem.nodes());
  const int models = *std::ranges::max_element(problem.replica_of) + 1;
  count_.assign(Index(models) * hosts_, 0);
}

Status CheckProblem(const PlacementProblem& problem) {
  EK_RETURN_IF_ERROR(CheckSizes(problem));
  for (int task = 0; task < problem.tasks(); ++task) {
    if (problem.memory[Index(task)] < 0)
      return InvalidArgument("task {}: expected its memory to be at least 0 bytes, got {}", task,
                             problem.memory[Index(task)]);
    bool possible = false;
    for (int node = 0; node < problem.nodes(); ++node) {
      const double cost = problem.seconds(task, node);
      if (!(cost > 0))
        return InvalidArgument("task {} on node {}: expected more than 0 s, got {}", task, node,
                               cost);
      possible = possible || (problem.possible(task, node) &&
                              problem.memory[Index(task)] <= problem.room[Index(node)]);
    }
    if (!possible) return NotFound("task {}: no node can run it", task);
  }
  for (int node = 0; node < problem.nodes(); ++node) {
    const double load = problem.present_s[Index(node)];
    if (!(load >= 0) || load >= kImpossible)
      return InvalidArgument("node {}: expected a load of at least 0 s, got {}", node, load);
  }
  EK_RETURN_IF_ERROR(CheckReplicas(problem));
  for (const TaskEdge& edge : problem.edges) {
    const auto known = [&](int task) { return task >= 0 && task < problem.tasks(); };
    if (!known(edge.before) || !known(edge.after) || edge.bytes < 0)
      return InvalidArgument("an edge from task {} to task {} of {} bytes; there are {} tasks",
                             edge.before, edge.after, edge.bytes, problem.tasks());
  }
  std::vector<std::pair<int, int>> edges;
  for (const TaskEdge& edge : problem.edges) edges.emplace_back(edge.before, edge.after);
  const std::vector<int> cycle = FindCycle(problem.tasks(), edges);
  if (!cycle.empty())
    return InvalidArgument("tasks wait for each other in a circle: {}", fmt::join(cycle, " -> "));
  return Status::Ok();
}

std::vector<int> TopologicalOrder(int tasks, const std::vector<TaskEdge>& edges) {
  std::vector<std::vector<int>> next(Index(tasks));
  std::vector<int> missing(Index(tasks), 0);
  for (const TaskEdge& edge : edges) {
    next[Index(edge.before)].push_back(edge.after);
    ++missing[Index(edge.after)];
  }
  std::vector<int> order;
  for (int task = 0; task < tasks; ++task) {
    if (missing[Index(task)] == 0) order.push_back(task);
  }
  for (size_t i = 0; i < order.size(); ++i) {
    for (const int to : next[Index(order[i])]) {
      if (--missing[Index(to)] == 0) order.push_back(to);
    }
  }
  EK_CHECK(order.size() == Index(tasks));
  return order;
}

bool PlacementScore::operator<(const PlacementScore& other) const {
  const double slack = kSame * std::max(1.0, std::min(makespan_s, other.makespan_s));
  if (std::abs(makespan_s - other.makespan_s) > slack) return makespan_s < other.makespan_s;
  return total_s < other.total_s - kSame * std::max(1.0, std::abs(other.total_s));
}

bool Fits(const PlacementProblem& problem, const Placement& placement) {
  std::vector<int64_t> taken(Index(problem.nodes()), 0);
  Apart apart(problem);
  for (int task = 0; task < problem.tasks(); ++task) {
    const int node = placement[Index(task)];
    if (node < 0 || !problem.possible(task, node) || !apart.Allows(task, node)) return false;
    apart.Put(task, node);
    taken[Index(node)] += problem.memory[Index(task)];
  }
  for (size_t node = 0; node < taken.size(); ++node) {
    if (taken[node] > problem.room[node]) return false;
  }
  return true;
}

std::vector<double> LoadsOf(const PlacementProblem& problem, const Placement& placement) {
  std::vector<double> loads = problem.present_s;
  for (int task = 0; task < problem.tasks(); ++task)
    loads[Index(placement[Index(task)])] += problem.seconds(task, placement[Index(task)]);
  return loads;
}

PlacementScore Score(const PlacementProblem& problem, const Placement& placement) {
  PlacementScore score;
  score.total_s = 0;
  for (int task = 0; task < problem.tasks(); ++task)
    score.total_s += problem.seconds(task, placement[Index(task)]);
  if (problem.edges.empty()) {
    const auto loads = LoadsOf(problem, placement);
    score.makespan_s = *std::ranges::max_element(loads);
    return score;
  }
  std::vector<double> free_at = problem.present_s;
  std::vector<double> ready_at(Index(problem.tasks()), 0);
  std::vector<std::vector<const TaskEdge*>> out(Index(problem.tasks()));
  for (const TaskEdge& edge : problem.edges) out[Index(edge.before)].push_back(&edge);
  for (const int task : TopologicalOrder(problem.tasks(), problem.edges)) {
    const int node = placement[Index(task)];
    double& free = free_at[Index(node)];
    free = std::max(free, ready_at[Index(task)]) + problem.seconds(task, node);
    for (const TaskEdge* const edge : out[Index(task)]) {
      const int to = placement[Index(edge->after)];
      const double transfer = to == node
                                  ? 0
                                  : problem.latency_s(node, to) + static_cast<double>(edge->bytes) /
                                                                      problem.bytes_per_s(node, to);
      double& ready = ready_at[Index(edge->after)];
      ready = std::max(ready, free + transfer);
    }
  }
  score.makespan_s = *std::ranges::max_element(free_at);
  return score;
}

std::optional<Placement> LongestFirst(const PlacementProblem& problem) {
  const auto shortest = [&](int task) { return problem.seconds.row(task).minCoeff(); };
  std::vector<int> order(Index(problem.tasks()));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int a, int b) { return shortest(a) > shortest(b); });
  Placement placement(Index(problem.tasks()), -1);
  std::vector<double> loads = problem.present_s;
  std::vector<int64_t> room = problem.room;
  Apart apart(problem);
  for (const int task : order) {
    int best = -1;
    double done = kImpossible;
    for (int node = 0; node < problem.nodes(); ++node) {
      const double then = loads[Index(node)] + problem.seconds(task, node);
      if (problem.memory[Index(task)] > room[Index(node)] || !apart.Allows(task, node) ||
          !(then < done))
        continue;
      best = node;
      done = then;
    }
    if (best < 0) return std::nullopt;
    placement[Index(task)] = best;
    apart.Put(task, best);
    loads[Index(best)] = done;
    room[Index(best)] -= problem.memory[Index(task)];
  }
  return placement;
}

std::optional<Placement> BestSingleNode(const PlacementProblem& problem) {
  std::optional<Placement> best;
  PlacementScore best_score;
  for (int node = 0; node < problem.nodes(); ++node) {
    Placement placement(Index(problem.tasks()), node);
    if (!Fits(problem, placement)) continue;
    const PlacementScore score = Score(problem, placement);
    if (best && !(score < best_score)) continue;
    best = std::move(placement);
    best_score = score;
  }
  return best;
}

}  // namespace evenkeel
