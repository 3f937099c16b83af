#include "cluster/policy/game.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace evenkeel {
namespace {

size_t Index(int i) { return static_cast<size_t>(i); }

// Loads in weights, and memory taken, kept while tasks move.
class State {
 public:
  State(const PlacementProblem& problem, const LoadModel& model, const Placement& placement)
      : problem_(problem),
        model_(model),
        placement_(placement),
        room_(problem.room),
        apart_(problem) {
    for (int node = 0; node < problem.nodes(); ++node)
      loads_.push_back(problem.present_s[Index(node)] * model.capacity[Index(node)]);
    for (int task = 0; task < problem.tasks(); ++task) {
      loads_[Index(placement[Index(task)])] += model.weight_s[Index(task)];
      room_[Index(placement[Index(task)])] -= problem.memory[Index(task)];
      apart_.Put(task, placement[Index(task)]);
    }
  }

  const Placement& placement() const { return placement_; }
  bool HasRoom(int task, int node) const {
    return problem_.possible(task, node) && problem_.memory[Index(task)] <= room_[Index(node)] &&
           apart_.Allows(task, node, placement_[Index(task)]);
  }
  double Utility(int task, int node, const GameWeights& weights) const {
    const double own = placement_[Index(task)] == node ? 0 : model_.weight_s[Index(task)];
    return -(weights.alpha * problem_.seconds(task, node) +
             weights.beta * (loads_[Index(node)] + own) / model_.capacity[Index(node)]);
  }
  void Move(int task, int to) {
    int& at = placement_[Index(task)];
    loads_[Index(at)] -= model_.weight_s[Index(task)];
    room_[Index(at)] += problem_.memory[Index(task)];
    loads_[Index(to)] += model_.weight_s[Index(task)];
    room_[Index(to)] -= problem_.memory[Index(task)];
    apart_.Take(task, at);
    apart_.Put(task, to);
    at = to;
  }

 private:
  const PlacementProblem& problem_;
  const LoadModel& model_;
  Placement placement_;
  std::vector<int64_t> room_;
  Apart apart_;
  std::vector<double> loads_;
};

}  // namespace

LoadModel LoadModelOf(const PlacementProblem& problem) {
  const int tasks = problem.tasks(), nodes = problem.nodes();
  std::vector<double> log_weight(Index(tasks), 0), log_capacity(Index(nodes), 0);
  // Alternating means: the least squares of a two-way layout, whatever pairs are missing.
  for (int round = 0; round < 50; ++round) {
    double change = 0;
    for (int task = 0; task < tasks; ++task) {
      double sum = 0;
      int count = 0;
      for (int node = 0; node < nodes; ++node) {
        if (!problem.possible(task, node)) continue;
        sum += std::log(problem.seconds(task, node)) + log_capacity[Index(node)];
        ++count;
      }
      if (count > 0) log_weight[Index(task)] = sum / count;
    }
    for (int node = 0; node < nodes; ++node) {
      double sum = 0;
      int count = 0;
      for (int task = 0; task < tasks; ++task) {
        if (!problem.possible(task, node)) continue;
        sum += log_weight[Index(task)] - std::log(problem.seconds(task, node));
        ++count;
      }
      const double next = count > 0 ? sum / count : 0;
      change = std::max(change, std::abs(next - log_capacity[Index(node)]));
      log_capacity[Index(node)] = next;
    }
    if (change < 1e-12) break;
  }
  const double mean = std::accumulate(log_capacity.begin(), log_capacity.end(), 0.0) / nodes;
  LoadModel model;
  for (const double weight : log_weight) model.weight_s.push_back(std::exp(weight - mean));
  for (const double capacity : log_capacity) model.capacity.push_back(std::exp(capacity - mean));
  return model;
}

double Potential(const PlacementProblem& problem, const LoadModel& loads,
                 const Placement& placement) {
  std::vector<double> load(Index(problem.nodes())), squares(Index(problem.nodes()), 0);
  for (int node = 0; node < problem.nodes(); ++node)
    load[Index(node)] = problem.present_s[Index(node)] * loads.capacity[Index(node)];
  double potential = 0;
  for (int task = 0; task < problem.tasks(); ++task) {
    const int node = placement[Index(task)];
    const double weight = loads.weight_s[Index(task)];
    load[Index(node)] += weight;
    squares[Index(node)] += weight * weight;
    potential += weight * problem.seconds(task, node);
  }
  for (size_t node = 0; node < load.size(); ++node)
    potential += (load[node] * load[node] + squares[node]) / (2 * loads.capacity[node]);
  return potential;
}

double Utility(const PlacementProblem& problem, const LoadModel& loads, const Placement& placement,
               int task, int node, const GameWeights& weights) {
  return State(problem, loads, placement).Utility(task, node, weights);
}

GameResult Settle(const PlacementProblem& problem, const Placement& start,
                  const GameWeights& weights) {
  const LoadModel model = LoadModelOf(problem);
  State state(problem, model, start);
  GameResult result{start, Score(problem, start), {}, {}, 0, false};
  double potential = Potential(problem, model, start);
  // The heavy ones first: what they leave is filled up by the light ones.
  std::vector<int> order(Index(problem.tasks()));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, [&](int a, int b) { return model.weight_s[Index(a)] > model.weight_s[Index(b)]; });
  const bool independent = problem.edges.empty();
  for (int round = 0; round < weights.most_rounds && !result.settled; ++round) {
    bool moved = false;
    for (const int task : order) {
      const int from = state.placement()[Index(task)];
      const double now = state.Utility(task, from, weights);
      const double enough = now + weights.least_gain * problem.seconds(task, from);
      int to = from;
      double best = enough;
      for (int node = 0; node < problem.nodes(); ++node) {
        if (node == from || !state.HasRoom(task, node)) continue;
        const double then = state.Utility(task, node, weights);
        if (then <= best) continue;
        best = then;
        to = node;
      }
      if (to == from) continue;
      state.Move(task, to);
      moved = true;
      potential -= model.weight_s[Index(task)] * (best - now);
      result.moves.push_back({task, from, to, now, best, potential});
      if (!independent) continue;  // a schedule is worked out once a round
      const PlacementScore score = Score(problem, state.placement());
      if (score < result.score) {
        result.score = score;
        result.placement = state.placement();
      }
    }
    result.settled = !moved;
    if (!moved) break;
    ++result.rounds;
    const PlacementScore score = Score(problem, state.placement());
    if (score < result.score) {
      result.score = score;
      result.placement = state.placement();
    }
  }
  result.last = state.placement();
  return result;
}

std::optional<Placement> Bid(const PlacementProblem& problem, const GameWeights& weights) {
  const LoadModel model = LoadModelOf(problem);
  double sum = 0;
  int count = 0;
  for (int task = 0; task < problem.tasks(); ++task) {
    for (int node = 0; node < problem.nodes(); ++node) {
      if (!problem.possible(task, node)) continue;
      sum += problem.seconds(task, node);
      ++count;
    }
  }
  const double mean = count > 0 ? sum / count : 1;
  std::vector<double> loads = problem.present_s;
  std::vector<int64_t> room = problem.room;
  Apart apart(problem);
  Placement placement(Index(problem.tasks()), -1);
  for (int task = 0; task < problem.tasks(); ++task) {
    int best = -1;
    double highest = -kImpossible;
    for (int node = 0; node < problem.nodes(); ++node) {
      if (!problem.possible(task, node) || problem.memory[Index(task)] > room[Index(node)] ||
          !apart.Allows(task, node))
        continue;
      const double own = model.weight_s[Index(task)] / model.capacity[Index(node)];
      const double bid = -(weights.alpha * problem.seconds(task, node) / mean +
                           weights.beta * (loads[Index(node)] + own) / mean);
      if (bid <= highest) continue;
      highest = bid;
      best = node;
    }
    if (best < 0) return std::nullopt;
    placement[Index(task)] = best;
    apart.Put(task, best);
    room[Index(best)] -= problem.memory[Index(task)];
    loads[Index(best)] += model.weight_s[Index(task)] / model.capacity[Index(best)];
  }
  return placement;
}

}  // namespace evenkeel
