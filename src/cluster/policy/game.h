// The game that settles an allocation: tasks look for the node of the highest utility, one after the other, until none gains by moving.
//
// Utility of task j on node i, its own load counted in:   u_ij = -(alpha c_ij + beta L_i / C_i)
//   c_ij: the task's seconds there. L_i: the load of node i, the sum of the weights w_j of its tasks and what it had before; C_i: its capacity;
//   L_i / C_i is in seconds, as c is.
// With alpha = beta = 1 and weights that do not depend on the node the game has an exact weighted potential
//   Phi = sum_i (L_i^2 + sum_{j on i} w_j^2) / (2 C_i)  +  sum_j w_j c_{j,s(j)},     dPhi = -w_j du_j,
//   so it ends: each move lowers Phi, and there are finitely many allocations. Moves are one by one: simultaneous ones would go in circles.
// Contract: `Settle` starts from a placement that fits and keeps to what fits; it returns the best placement met by the objective of
//   placement.h, which is not always the last. `Bid` is the method: every node bids for every task in turn, and the highest bid takes it.
// Thread-safety: pure. Source: B6; the sign of the utility is ours (the claim maximises a utility made of costs).
#pragma once

#include <vector>

#include "cluster/policy/placement.h"

namespace evenkeel {

struct GameWeights {
  double alpha = 1, beta = 1;
  double least_gain = 1e-9;  // of utility, relative to the task's cost: below it nobody moves
  int most_rounds = 100;     // a round: each task once
};

// The weights and capacities that explain the costs best: log c_ij = log w_j - log C_i, least squares over the possible pairs; the
// capacities' geometric mean is 1.
struct LoadModel {
  std::vector<double> weight_s;  // by task: seconds on a node of capacity 1
  std::vector<double> capacity;  // by node
};
LoadModel LoadModelOf(const PlacementProblem& problem);

struct GameMove {
  int task = 0, from = 0, to = 0;
  double utility_before = 0, utility_after = 0;
  double potential = 0;  // after it
};

struct GameResult {
  Placement placement;  // the best met
  PlacementScore score;
  Placement last;  // where nobody wants to move, or the rounds ended
  std::vector<GameMove> moves;
  int rounds = 0;  // in which somebody moved
  bool settled = false;
};

double Potential(const PlacementProblem& problem, const LoadModel& loads,
                 const Placement& placement);
double Utility(const PlacementProblem& problem, const LoadModel& loads, const Placement& placement,
               int task, int node, const GameWeights& weights);

// REQUIRES: Fits(problem, start).
GameResult Settle(const PlacementProblem& problem, const Placement& start,
                  const GameWeights& weights = {});

// `method`: u_ij = -(alpha c_ij / mean c + beta L_i / C_i), tasks in their order. Nothing where a task finds no room.
std::optional<Placement> Bid(const PlacementProblem& problem, const GameWeights& weights = {});

}  // namespace evenkeel
