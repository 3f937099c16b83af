#include "cluster/policy/exact.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

size_t Index(int i) { return static_cast<size_t>(i); }

class Search {
 public:
  Search(const PlacementProblem& problem, const std::optional<Placement>& start,
         int64_t most_visits)
      : problem_(problem),
        best_(start),
        best_s_(start ? Score(problem, *start).makespan_s : kImpossible),
        now_(Index(problem.tasks()), -1),
        loads_(problem.present_s),
        room_(problem.room),
        apart_(problem),
        alike_(Index(problem.tasks()), false),
        visits_(most_visits) {
    order_.resize(Index(problem.tasks()));
    std::iota(order_.begin(), order_.end(), 0);
    // What leaves least choice first.
    std::ranges::stable_sort(order_, [&](int a, int b) {
      return problem.seconds.row(a).minCoeff() > problem.seconds.row(b).minCoeff();
    });
    for (size_t depth = 1; depth < order_.size(); ++depth) {
      const int task = order_[depth], before = order_[depth - 1];
      alike_[depth] = apart_.SameModel(task, before) &&
                      problem.seconds.row(task) == problem.seconds.row(before);
    }
    // Of the tasks from each depth on: the least that they add to all loads together.
    least_left_.assign(order_.size() + 1, 0);
    for (size_t depth = order_.size(); depth-- > 0;)
      least_left_[depth] = least_left_[depth + 1] + problem.seconds.row(order_[depth]).minCoeff();
  }
  std::optional<Placement> Run() {
    Look(0);
    return best_;
  }

 private:
  void Look(size_t depth) {
    if (--visits_ < 0) return;
    if (depth == order_.size()) {
      best_s_ = *std::ranges::max_element(loads_);
      best_ = now_;
      return;
    }
    const double sum = std::accumulate(loads_.begin(), loads_.end(), least_left_[depth]);
    if (sum / problem_.nodes() >= best_s_) return;
    const int task = order_[depth];
    std::vector<int> nodes;
    for (int node = 0; node < problem_.nodes(); ++node) {
      if (problem_.possible(task, node) && problem_.memory[Index(task)] <= room_[Index(node)] &&
          apart_.Allows(task, node))
        nodes.push_back(node);
    }
    const auto then = [&](int node) { return loads_[Index(node)] + problem_.seconds(task, node); };
    std::ranges::sort(nodes, {}, then);
    for (const int node : nodes) {
      const double load = then(node);
      if (load >= best_s_ * (1 - 1e-12)) break;
      if (alike_[depth] && node < now_[Index(order_[depth - 1])]) continue;
      const double before = std::exchange(loads_[Index(node)], load);
      room_[Index(node)] -= problem_.memory[Index(task)];
      now_[Index(task)] = node;
      apart_.Put(task, node);
      Look(depth + 1);
      apart_.Take(task, node);
      loads_[Index(node)] = before;
      room_[Index(node)] += problem_.memory[Index(task)];
    }
  }

  const PlacementProblem& problem_;
  std::optional<Placement> best_;
  double best_s_;
  Placement now_;
  std::vector<double> loads_;
  std::vector<int64_t> room_;
  Apart apart_;
  std::vector<int> order_;
  std::vector<double> least_left_;
  std::vector<bool>
      alike_;  // by depth: a replica like the one before; one order of the two will do
  int64_t visits_;
};

}  // namespace

std::optional<Placement> SearchAll(const PlacementProblem& problem,
                                   const std::optional<Placement>& start, int64_t most_visits) {
  return Search(problem, start, most_visits).Run();
}

}  // namespace evenkeel
