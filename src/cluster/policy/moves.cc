#include "cluster/policy/moves.h"

#include <algorithm>
#include <cmath>

namespace evenkeel {
namespace {

struct Planner {
  const MoveSnapshot& snapshot;
  Eigen::VectorXd load;  // moves of this plan counted
  std::vector<int64_t> room;
  std::vector<bool> gone;                     // items
  std::vector<std::vector<size_t>> items_at;  // by node

  double Level(int node) const { return load[node] / snapshot.capacity[node]; }

  double Gain(const Movable& item, int to) const {
    const double before = std::max(Level(item.node), Level(to));
    const double cost = item.cost_s[static_cast<size_t>(to)];
    const double left = Level(item.node) - item.load_s / snapshot.capacity[item.node];
    const double taken = Level(to) + item.load_s / snapshot.capacity[to] + cost;
    return before - std::max(left, taken);
  }

  // The item that `flow` pays for and that gains most, of the lightest kind that has one; its index, or -1.
  int Choose(int from, int to, double flow) const {
    int best = -1;
    double most = 0;
    for (const size_t i : items_at[static_cast<size_t>(from)]) {
      const Movable& item = snapshot.items[i];
      if (gone[i] || item.memory > room[static_cast<size_t>(to)]) continue;
      if (flow < item.load_s / 2) continue;
      const double gain = Gain(item, to);
      if (!(gain > snapshot.hysteresis_s)) continue;
      const bool lighter = best < 0 || item.kind < snapshot.items[static_cast<size_t>(best)].kind;
      const bool same = best >= 0 && item.kind == snapshot.items[static_cast<size_t>(best)].kind;
      if (!lighter && !(same && gain > most)) continue;
      best = static_cast<int>(i);
      most = gain;
    }
    return best;
  }
};

}  // namespace

std::vector<Move> PlanMoves(const MoveSnapshot& snapshot, Eigen::MatrixXd* carried) {
  const auto nodes = static_cast<int>(snapshot.load.size());
  Planner planner{snapshot, snapshot.load, snapshot.room,
                  std::vector<bool>(snapshot.items.size(), false),
                  std::vector<std::vector<size_t>>(static_cast<size_t>(nodes))};
  for (size_t i = 0; i < snapshot.items.size(); ++i)
    planner.items_at[static_cast<size_t>(snapshot.items[i].node)].push_back(i);
  struct Pair {
    int from, to;
    double flow;
  };
  std::vector<Pair> pairs;
  for (int i = 0; i < nodes; ++i) {
    for (int j = 0; j < nodes; ++j) {
      double& flow = (*carried)(i, j);
      const double wanted = std::max(0.0, snapshot.flows(i, j)) * snapshot.period_s;
      // A flow that turned round owes nothing any more.
      flow = wanted > 0 ? flow + wanted : 0;
      const bool busy = std::ranges::any_of(snapshot.moving, [&](const auto& pair) {
        return std::minmax(pair.first, pair.second) == std::minmax(i, j);
      });
      const bool apart = planner.Level(i) - planner.Level(j) > snapshot.hysteresis_s;
      if (i != j && wanted > 0 && !busy && apart) pairs.push_back({i, j, flow});
    }
  }
  // The steepest first: they gain most, and what they fill the others find filled.
  std::ranges::stable_sort(pairs, [](const Pair& a, const Pair& b) { return a.flow > b.flow; });
  std::vector<Move> moves;
  for (const Pair& pair : pairs) {
    double& flow = (*carried)(pair.from, pair.to);
    const int chosen = planner.Choose(pair.from, pair.to, flow);
    if (chosen >= 0) {
      const Movable& item = snapshot.items[static_cast<size_t>(chosen)];
      moves.push_back({item.id, pair.from, pair.to, planner.Gain(item, pair.to)});
      planner.gone[static_cast<size_t>(chosen)] = true;
      planner.load[pair.from] -= item.load_s;
      planner.load[pair.to] += item.load_s;
      planner.room[static_cast<size_t>(pair.to)] -= item.memory;
      flow = std::max(0.0, flow - item.load_s);
    }
    double largest = 0;
    for (const size_t i : planner.items_at[static_cast<size_t>(pair.from)])
      largest = std::max(largest, snapshot.items[i].load_s);
    flow = std::min(flow, largest);
  }
  return moves;
}

}  // namespace evenkeel
