#include "cluster/policy/partition.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "cluster/policy/factorisation.h"

namespace evenkeel {
namespace {

constexpr int kMostFactors = 3;
constexpr int kGroupingRounds = 20;
constexpr int kKicks = 8;
constexpr int kWalks =
    20;  // kicks from where the last one led, before it starts from the best again
// What stands for an impossible pair where a finite number is needed: this many times the task's dearest node.
constexpr double kImpossibleTimes = 16;

size_t Index(int i) { return static_cast<size_t>(i); }

Eigen::MatrixXd FiniteCosts(const PlacementProblem& problem) {
  Eigen::MatrixXd costs = problem.seconds;
  for (int task = 0; task < problem.tasks(); ++task) {
    double most = 0;
    for (int node = 0; node < problem.nodes(); ++node) {
      if (problem.possible(task, node)) most = std::max(most, costs(task, node));
    }
    for (int node = 0; node < problem.nodes(); ++node) {
      if (!problem.possible(task, node)) costs(task, node) = kImpossibleTimes * most;
    }
  }
  return costs;
}

// Where each task lies in the space of what tells tasks apart: tasks x factors.
Eigen::MatrixXd LatentSpace(const Eigen::MatrixXd& costs) {
  Eigen::MatrixXd logs = costs.array().log().matrix();
  logs.colwise() -= logs.rowwise().mean().eval();
  // Of the small square matrix instead of the tall one: nodes are few.
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(logs.transpose() * logs);
  const auto factors = std::min<Eigen::Index>(kMostFactors, costs.cols());
  return logs * solver.eigenvectors().rightCols(factors);
}

// k-means with seeds that lie far apart. By task: its group.
std::vector<int> Group(const Eigen::MatrixXd& points, int groups) {
  const auto count = static_cast<int>(points.rows());
  Eigen::MatrixXd centres(groups, points.cols());
  Eigen::VectorXd nearest = Eigen::VectorXd::Constant(count, kImpossible);
  int seed = 0;
  for (int group = 0; group < groups; ++group) {
    centres.row(group) = points.row(seed);
    for (int i = 0; i < count; ++i)
      nearest[i] = std::min(nearest[i], (points.row(i) - centres.row(group)).squaredNorm());
    nearest.maxCoeff(&seed);
  }
  std::vector<int> group_of(Index(count), -1);
  for (int round = 0; round < kGroupingRounds; ++round) {
    bool changed = false;
    for (int i = 0; i < count; ++i) {
      int best = 0;
      (centres.rowwise() - points.row(i)).rowwise().squaredNorm().minCoeff(&best);
      changed = changed || group_of[Index(i)] != best;
      group_of[Index(i)] = best;
    }
    if (!changed) break;
    Eigen::MatrixXd sums = Eigen::MatrixXd::Zero(groups, points.cols());
    std::vector<int> sizes(Index(groups), 0);
    for (int i = 0; i < count; ++i) {
      sums.row(group_of[Index(i)]) += points.row(i);
      ++sizes[Index(group_of[Index(i)])];
    }
    for (int group = 0; group < groups; ++group) {
      if (sizes[Index(group)] > 0) centres.row(group) = sums.row(group) / sizes[Index(group)];
    }
  }
  return group_of;
}

// Tasks that may not be where they are, or find no room there, go where `order_of(task)` says first; the largest first, since they find room least easily.
template <typename OrderOf>
std::optional<Placement> Repair(const PlacementProblem& problem, Placement wanted,
                                const OrderOf& order_of) {
  std::vector<int> tasks(Index(problem.tasks()));
  std::iota(tasks.begin(), tasks.end(), 0);
  std::ranges::stable_sort(
      tasks, [&](int a, int b) { return problem.memory[Index(a)] > problem.memory[Index(b)]; });
  std::vector<int64_t> room = problem.room;
  Apart apart(problem);
  const auto take = [&](int task, int node) {
    if (!problem.possible(task, node) || problem.memory[Index(task)] > room[Index(node)] ||
        !apart.Allows(task, node))
      return false;
    apart.Put(task, node);
    room[Index(node)] -= problem.memory[Index(task)];
    wanted[Index(task)] = node;
    return true;
  };
  for (const int task : tasks) {
    if (take(task, wanted[Index(task)])) continue;
    const std::vector<int> nodes = order_of(task);
    if (!std::ranges::any_of(nodes, [&](int node) { return take(task, node); }))
      return std::nullopt;
  }
  return wanted;
}

std::vector<int> NodesBy(int nodes, const std::function<double(int)>& cost) {
  std::vector<int> order(Index(nodes));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int a, int b) { return cost(a) < cost(b); });
  return order;
}

// Numbers that do not depend on a library: splitmix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  int Below(int count) {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<int>((z ^ (z >> 31)) % static_cast<uint64_t>(count));
  }

 private:
  uint64_t state_;
};

// Moves and swaps of tasks that do not depend on each other, each looked at in constant time.
class LocalSearch {
 public:
  LocalSearch(const PlacementProblem& problem, Placement start, int64_t trials)
      : problem_(problem), apart_(problem), trials_(trials) {
    Set(std::move(start));
  }

  void Set(Placement placement) {
    placement_ = std::move(placement);
    loads_ = LoadsOf(problem_, placement_);
    room_ = problem_.room;
    total_ = 0;
    apart_ = Apart(problem_);
    for (int task = 0; task < problem_.tasks(); ++task) {
      apart_.Put(task, placement_[Index(task)]);
      room_[Index(placement_[Index(task)])] -= problem_.memory[Index(task)];
      total_ += problem_.seconds(task, placement_[Index(task)]);
    }
    SeeHighest();
  }
  const Placement& placement() const { return placement_; }
  PlacementScore score() const { return {loads_[Index(highest_[0])], total_}; }
  bool exhausted() const { return trials_ <= 0; }

  // Until nothing helps.
  void Descend() {
    while (!exhausted() && (MoveFromHighest() || SwapWithHighest() || MoveToCheaper())) {
    }
  }
  void Kick(Random* random) {
    trials_ -= kKicks;  // so that it ends where nothing can move
    for (int i = 0; i < kKicks; ++i) {
      const int task = random->Below(problem_.tasks());
      const int from = placement_[Index(task)], to = random->Below(problem_.nodes());
      if (to == from) continue;
      if (HasRoom(task, to, 0)) {
        Move(task, to);
        continue;
      }
      // Where memory is short only an exchange gets anywhere.
      const int other = random->Below(problem_.tasks());
      if (placement_[Index(other)] != to || !problem_.possible(other, from) ||
          apart_.SameModel(task, other))
        continue;
      const int64_t mine = problem_.memory[Index(task)], others = problem_.memory[Index(other)];
      if (!HasRoom(task, to, others) || !HasRoom(other, from, mine)) continue;
      Move(task, to);
      Move(other, from);
    }
  }

 private:
  bool HasRoom(int task, int node, int64_t given_back) const {
    return problem_.possible(task, node) &&
           problem_.memory[Index(task)] <= room_[Index(node)] + given_back &&
           apart_.Allows(task, node, placement_[Index(task)]);
  }
  double Cost(int task, int node) const { return problem_.seconds(task, node); }

  // The three nodes of the highest loads: what the makespan is when two others change.
  void SeeHighest() {
    highest_ = {0, -1, -1};
    const auto load = [this](int node) { return node < 0 ? -1.0 : loads_[Index(node)]; };
    for (int node = 1; node < problem_.nodes(); ++node) {
      int carried = node;
      for (int& place : highest_) {
        if (load(carried) > load(place)) std::swap(carried, place);
      }
    }
  }
  double HighestBut(int a, int b) const {
    for (const int node : highest_) {
      if (node >= 0 && node != a && node != b) return loads_[Index(node)];
    }
    return 0;
  }
  // Takes it if it is better; `a` and `b` are the nodes that change.
  bool Better(int a, double load_a, int b, double load_b, double total) {
    --trials_;
    const PlacementScore then{std::max({HighestBut(a, b), load_a, load_b}), total};
    return then < score();
  }
  void Move(int task, int to) {
    const int from = placement_[Index(task)];
    loads_[Index(from)] -= Cost(task, from);
    loads_[Index(to)] += Cost(task, to);
    total_ += Cost(task, to) - Cost(task, from);
    room_[Index(from)] += problem_.memory[Index(task)];
    room_[Index(to)] -= problem_.memory[Index(task)];
    apart_.Take(task, from);
    apart_.Put(task, to);
    placement_[Index(task)] = to;
    SeeHighest();
  }
  bool TryMove(int task, int to) {
    const int from = placement_[Index(task)];
    if (to == from || !HasRoom(task, to, 0)) return false;
    if (!Better(from, loads_[Index(from)] - Cost(task, from), to,
                loads_[Index(to)] + Cost(task, to), total_ + Cost(task, to) - Cost(task, from)))
      return false;
    Move(task, to);
    return true;
  }
  bool TrySwap(int task, int other) {
    const int a = placement_[Index(task)], b = placement_[Index(other)];
    if (a == b || apart_.SameModel(task, other) ||
        !HasRoom(task, b, problem_.memory[Index(other)]) ||
        !HasRoom(other, a, problem_.memory[Index(task)]))
      return false;
    const double change_a = Cost(other, a) - Cost(task, a),
                 change_b = Cost(task, b) - Cost(other, b);
    if (!Better(a, loads_[Index(a)] + change_a, b, loads_[Index(b)] + change_b,
                total_ + change_a + change_b))
      return false;
    Move(task, b);
    Move(other, a);
    return true;
  }
  bool MoveFromHighest() {
    const int from = highest_[0];
    for (int task = 0; task < problem_.tasks(); ++task) {
      if (placement_[Index(task)] != from) continue;
      for (int node = 0; node < problem_.nodes(); ++node) {
        if (TryMove(task, node)) return true;
      }
    }
    return false;
  }
  bool SwapWithHighest() {
    const int from = highest_[0];
    for (int task = 0; task < problem_.tasks() && !exhausted(); ++task) {
      if (placement_[Index(task)] != from) continue;
      for (int other = 0; other < problem_.tasks(); ++other) {
        if (placement_[Index(other)] != from && TrySwap(task, other)) return true;
      }
    }
    return false;
  }
  bool MoveToCheaper() {
    bool any = false;
    for (int task = 0; task < problem_.tasks() && !exhausted(); ++task) {
      for (int node = 0; node < problem_.nodes(); ++node) {
        if (Cost(task, node) < Cost(task, placement_[Index(task)]))
          any = TryMove(task, node) || any;
      }
    }
    return any;
  }

  const PlacementProblem& problem_;
  Apart apart_;
  Placement placement_;
  std::vector<double> loads_;
  std::vector<int64_t> room_;
  double total_ = 0;
  std::array<int, 3> highest_{0, -1, -1};
  int64_t trials_;
};

// No placement ends sooner.
double LeastMakespan(const PlacementProblem& problem) {
  double longest = *std::ranges::max_element(problem.present_s);
  double sum = std::accumulate(problem.present_s.begin(), problem.present_s.end(), 0.0);
  for (int task = 0; task < problem.tasks(); ++task) {
    const double least = problem.seconds.row(task).minCoeff();
    longest = std::max(longest, least);
    sum += least;
  }
  return std::max(longest, sum / problem.nodes());
}

Placement ImproveSchedule(const PlacementProblem& problem, Placement best, int64_t trials) {
  PlacementScore score = Score(problem, best);
  for (bool better = true; better && trials > 0;) {
    better = false;
    for (int task = 0; task < problem.tasks(); ++task) {
      for (int node = 0; node < problem.nodes() && trials > 0; ++node) {
        const int from = best[Index(task)];
        if (node == from || !problem.possible(task, node)) continue;
        --trials;
        best[Index(task)] = node;
        const PlacementScore then = Score(problem, best);
        if (then < score && Fits(problem, best)) {
          score = then;
          better = true;
        } else {
          best[Index(task)] = from;
        }
      }
    }
  }
  return best;
}

}  // namespace

std::optional<Placement> PartitionByFactors(const PlacementProblem& problem) {
  const Eigen::MatrixXd costs = FiniteCosts(problem);
  const int nodes = problem.nodes();
  const std::vector<int> group_of = Group(LatentSpace(costs), nodes);
  Eigen::MatrixXd cost_of_group = Eigen::MatrixXd::Zero(nodes, nodes);
  for (int task = 0; task < problem.tasks(); ++task)
    cost_of_group.row(group_of[Index(task)]) += costs.row(task);
  const std::vector<int> node_of_group = Assign(cost_of_group);
  Placement wanted;
  for (const int group : group_of) wanted.push_back(node_of_group[Index(group)]);
  return Repair(problem, std::move(wanted), [&](int task) {
    return NodesBy(nodes, [&](int node) { return costs(task, node); });
  });
}

std::optional<Placement> PartitionByMethod(const PlacementProblem& problem) {
  const int nodes = problem.nodes();
  const NonNegativeFactors factors = FactoriseNonNegative(problem.seconds, nodes);
  // Components of one size: else the largest number would say nothing.
  Eigen::MatrixXd share = factors.tasks;
  for (int k = 0; k < nodes; ++k) share.col(k) *= factors.nodes.row(k).sum();
  const std::vector<int> node_of = Assign(factors.nodes);
  std::vector<int> component_of(Index(nodes));
  for (int k = 0; k < nodes; ++k) component_of[Index(node_of[Index(k)])] = k;
  const auto order = [&](int task) {
    return NodesBy(nodes, [&](int node) { return -share(task, component_of[Index(node)]); });
  };
  Placement wanted;
  for (int task = 0; task < problem.tasks(); ++task) wanted.push_back(order(task).front());
  return Repair(problem, std::move(wanted), order);
}

Placement Improve(const PlacementProblem& problem, const Placement& start,
                  const ImproveOptions& options) {
  if (!problem.edges.empty()) {
    const auto size = static_cast<int64_t>(problem.edges.size() + start.size());
    return ImproveSchedule(problem, start, options.most_trials / size);
  }
  LocalSearch search(problem, start, options.most_trials);
  search.Descend();
  Placement best = search.placement();
  PlacementScore best_score = search.score();
  const double least = LeastMakespan(problem) * (1 + 1e-9);
  Random random(options.seed);
  for (int kick = 0; !search.exhausted() && best_score.makespan_s > least; ++kick) {
    if (kick % kWalks == 0) search.Set(best);
    search.Kick(&random);
    search.Descend();
    if (!(search.score() < best_score)) continue;
    best = search.placement();
    best_score = search.score();
  }
  return best;
}

std::vector<int> Assign(const Eigen::MatrixXd& costs) {
  const auto n = static_cast<int>(costs.rows());
  // Row 0 and column 0 stand for nothing; row_of[c] is the row that has column c.
  std::vector<double> row_potential(Index(n + 1), 0), column_potential(Index(n + 1), 0);
  std::vector<int> row_of(Index(n + 1), 0), way(Index(n + 1), 0);
  for (int row = 1; row <= n; ++row) {
    row_of[0] = row;
    int column = 0;
    std::vector<double> least(Index(n + 1), kImpossible);
    std::vector<bool> used(Index(n + 1), false);
    do {
      used[Index(column)] = true;
      const int current = row_of[Index(column)];
      double delta = kImpossible;
      int next = 0;
      for (int c = 1; c <= n; ++c) {
        if (used[Index(c)]) continue;
        const double reduced =
            costs(current - 1, c - 1) - row_potential[Index(current)] - column_potential[Index(c)];
        if (reduced < least[Index(c)]) {
          least[Index(c)] = reduced;
          way[Index(c)] = column;
        }
        if (least[Index(c)] < delta) {
          delta = least[Index(c)];
          next = c;
        }
      }
      for (int c = 0; c <= n; ++c) {
        if (used[Index(c)]) {
          row_potential[Index(row_of[Index(c)])] += delta;
          column_potential[Index(c)] -= delta;
        } else {
          least[Index(c)] -= delta;
        }
      }
      column = next;
    } while (row_of[Index(column)] != 0);
    while (column != 0) {
      const int before = way[Index(column)];
      row_of[Index(column)] = row_of[Index(before)];
      column = before;
    }
  }
  std::vector<int> column_of(Index(n));
  for (int c = 1; c <= n; ++c) column_of[Index(row_of[Index(c)] - 1)] = c - 1;
  return column_of;
}

}  // namespace evenkeel
