// Turns the flows of the balance into whole moves that repay their cost (B7).
//
// A move takes an item of load l from node i to node j. Levels x = L / C are seconds until a node is through with what it has. It repays its cost
//   if  max(x_i - l/C_i, x_j + l/C_j + cost)  is below  max(x_i, x_j)  by more than the hysteresis:  the item's pause, transfer and recomputing count as
//   work of the receiving node, so that a dearer move is worth less, and at some price nothing moves.
// Flows are fractions of items: what is not moved is carried over, up to one period's worth, and an item goes once the carried flow is at least half of its load.
// Contract: one move at a time between two nodes, in either direction; no node is filled beyond its room (headroom taken off); items of the lightest kind first.
// Units: seconds, bytes. Thread-safety: pure but for `carried`, which is the caller's.
#pragma once

#include <Eigen/Dense>

#include <cstdint>
#include <utility>
#include <vector>

namespace evenkeel {

enum class MovableKind : uint8_t { kQueued, kSequence, kReplica };  // from cheap to dear

struct Movable {
  uint64_t id = 0;
  int node = 0;
  MovableKind kind = MovableKind::kQueued;
  double load_s = 0;   // at capacity 1, > 0
  int64_t memory = 0;  // bytes that it takes where it goes
  std::vector<double>
      cost_s;  // by node it could go to: pause, transfer, recomputing; infinite: it can't
};

struct Move {
  uint64_t id = 0;
  int from = 0, to = 0;
  double gain_s = 0;  // of the higher level of the two, cost counted
};

struct MoveSnapshot {
  Eigen::VectorXd load;      // by node, seconds at capacity 1
  Eigen::VectorXd capacity;  // by node
  std::vector<int64_t> room;
  Eigen::MatrixXd flows;  // load a second, of balance.h
  std::vector<Movable> items;
  std::vector<std::pair<int, int>> moving;  // pairs with a move on its way
  double period_s = 1;
  double hysteresis_s = 0.05;
};

// `carried`: nodes x nodes, zero at first; updated.
std::vector<Move> PlanMoves(const MoveSnapshot& snapshot, Eigen::MatrixXd* carried);

}  // namespace evenkeel
