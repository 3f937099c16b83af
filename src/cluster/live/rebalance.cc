#include "cluster/live/rebalance.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cluster/policy/balance.h"

namespace evenkeel {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kFast =
    1e3;  // 1/s: how fast moves could be; Damped() slows them to what is stable

// Parts of a queue that could go: all of it, half, a quarter ... one row. The planner takes the one that gains most.
void AddItems(const Rebalancer::Queue& queue, std::span<const Rebalancer::Node> nodes, size_t index,
              std::vector<Movable>* items, std::vector<std::pair<size_t, int64_t>>* of) {
  for (int64_t rows = queue.rows; rows > 0; rows /= 2) {
    Movable item;
    item.id = items->size();
    item.node = 0;
    item.kind = queue.kind;
    item.load_s = static_cast<double>(rows) * queue.row_s;
    item.cost_s.assign(nodes.size(), kInfinite);
    for (size_t i = 1; i < nodes.size(); ++i) {
      if (!nodes[i].takes_work || !std::isfinite(queue.there_s[i])) continue;
      if (!queue.most.empty() && rows > queue.most[i]) continue;
      // What it takes there beyond what it takes here is part of the move's price.
      const double more = static_cast<double>(rows) * (queue.there_s[i] - queue.row_s);
      item.cost_s[i] =
          nodes[i].forward_s +
          (std::max(0.0, more) + static_cast<double>(rows) * queue.move_s) / nodes[i].capacity;
    }
    items->push_back(std::move(item));
    of->emplace_back(index, rows);
  }
}

}  // namespace

std::vector<Rebalancer::Move> Rebalancer::Plan(std::span<const Node> nodes,
                                               std::span<const Queue> queues) {
  const auto count = static_cast<Eigen::Index>(nodes.size());
  if (carried_.rows() != count) carried_ = Eigen::MatrixXd::Zero(count, count);
  if (count < 2 || rule_ == BalanceRule::kOff) return {};
  MoveSnapshot snapshot;
  snapshot.load.resize(count);
  snapshot.capacity.resize(count);
  std::vector<bool> open;
  for (Eigen::Index i = 0; i < count; ++i) {
    const Node& node = nodes[static_cast<size_t>(i)];
    snapshot.load[i] = node.load_s;
    snapshot.capacity[i] = node.capacity;
    open.push_back(node.takes_work);
  }
  snapshot.flows =
      Flows(BalanceFor(rule_, snapshot.capacity, open, kFast, kPeriod, kAge), snapshot.load);
  snapshot.room.assign(nodes.size(), std::numeric_limits<int64_t>::max());
  snapshot.period_s = kPeriod;
  snapshot.hysteresis_s = kHysteresis;
  std::vector<std::pair<size_t, int64_t>> of;
  for (size_t i = 0; i < queues.size(); ++i) {
    if (queues[i].rows > 0 && queues[i].row_s > 0)
      AddItems(queues[i], nodes, i, &snapshot.items, &of);
  }
  std::vector<Move> moves;
  std::vector<int64_t> left;
  for (const Queue& queue : queues) left.push_back(queue.rows);
  for (const evenkeel::Move& move : PlanMoves(snapshot, &carried_)) {
    if (move.from != 0) continue;
    const auto [queue, rows] = of[move.id];
    const int64_t can = std::min(rows, left[queue]);
    if (can <= 0) continue;
    left[queue] -= can;
    moves.push_back({queues[queue].model, queues[queue].kind, can, move.to, move.gain_s});
  }
  return moves;
}

}  // namespace evenkeel
