// How many replicas each model has, and on which nodes.
//
// A replica is a task that has its share of the model's work (B2, B4). Tasks of one model are never on one server; each takes the model's memory.
// How it goes: a model gets the `least` that it is to keep, as tasks of equal parts, placed by MakePlan(); then its work is shared out over them as routing would (shares.h).
//   Where a model's work is more than `carry_s` a second on the node that does it best, it gets as many replicas as bring that down, if the busiest node's level falls by
//   `least_fall` at least: replicas take memory. What serves now, with what is missing added, stands against that; of plans that are as good within kAlike the one that brings
//   the fewest models to new nodes.
// Contract: each model on as many servers as it is to keep, or on as many as can run it; if all of that does not fit into memory, on at least as many of them as it serves on now. No more than `most`.
//   The busiest node's level is not above the present one, where what is missing of the replicas can be added to those that serve and none is to go.
//   Where each model has one replica and is to have one the placement is MakePlan()'s, unless the present one is better by the objective.
// Errors: as MakePlan(). Deterministic. Units: seconds of work a second. Thread-safety: pure. Source: B2, B4 to B6; the replicas are ours.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cluster/policy/placement.h"
#include "cluster/policy/plan.h"
#include "cluster/policy/shares.h"

namespace evenkeel {

struct ReplicaProblem {
  // A row a model: the seconds of all its work, were it there alone. No edges, no `replica_of`; `host` counts.
  PlacementProblem work;
  std::vector<int> least;  // by model: replicas that it is to keep, >= 1; empty: one each
  std::vector<int> most;   // by model, >= least; empty: as many as there are servers
  Holders present;         // by model: places where it serves now; empty: not known
};

struct ReplicaOptions {
  bool method =
      false;  // CN119537032B's rules: equal parts, none more than the least, whatever is now
  bool only_add =
      false;  // what serves stays, and what is missing of the least is added: else nothing. Error kUnavailable: it finds no room
  double carry_s = 0.8;      // above it calls wait long, however they are routed
  double least_fall = 0.05;  // of the level
  PlanOptions plan;
};

struct ReplicaStep {
  std::string
      name;  // a PlanStep's; "shared out", "as it serves", "as it serves, improved", "more replicas"
  Holders places;
  PlacementScore score;
};

struct ReplicaPlan {
  Holders places;  // by model, ascending
  SharedWork shares;
  PlacementScore score;  // of the shares
  std::optional<double>
      present_s;  // the busiest node's level now, at the best sharing; none: it is not known
  std::vector<ReplicaStep> steps;
  GameResult game;            // of tasks
  std::vector<int> model_of;  // by task of the game
};

Result<ReplicaPlan> MakeReplicaPlan(const ReplicaProblem& problem,
                                    const ReplicaOptions& options = {});

// As many replicas as bring its share of the work on each of the fastest servers to `carry_s`; all servers that can run it, where they are too few.
// `model`: a row of problem.
int ReplicasForLoad(const PlacementProblem& problem, int model, double carry_s);

}  // namespace evenkeel
