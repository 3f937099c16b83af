// Whether another allocation of the models would serve so much sooner that moving them pays (B9).
//
// Present: each model's calls are shared out over the nodes that serve it, as evenly as routing could at best. Planned: the same over the nodes of `evenkeel plan`, which keeps
//   each model's replicas (policy/replicas.h). Both are levels: seconds of work that a second of calls gives the busiest node.
// Gain: (present - planned) x `horizon_s`, for which the figures hold, most likely. Cost: all that the receiving nodes spend on copies, loading and
//   warming. Worth it: the gain is above `hysteresis` x cost, and the level falls by `least_share` of it, by `least_fall`, so that nobody is bothered for what nodes at
//   rest would gain, and by `least_errors` times its standard error, so that few noisy measurements propose nothing.
// Contract: nothing is proposed that moves nothing. Deterministic. Units: seconds. Thread-safety: pure. Source: B7 and B9.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cluster/policy/placement.h"
#include "cluster/policy/shares.h"

namespace evenkeel {

struct Allocation {
  std::vector<std::string> tasks, nodes;
  PlacementProblem problem;  // of a second's calls
  Holders holders;           // by task: nodes that serve it now; none: it can be reached nowhere
  std::vector<int> least;    // by task: nodes that are to serve it; empty: one each
  Eigen::MatrixXd bring_s;   // tasks x nodes: until it serves there; not looked at where it does
  Eigen::MatrixXd error;     // tasks x nodes: standard error of the seconds, relative; empty: none
};

struct ReplanOptions {
  double horizon_s = 600;
  double hysteresis = 1.25;
  double least_share = 0.1, least_fall = 0.05, least_errors = 3;
  int64_t most_trials = 20'000;  // of the plan's improvement
  double copy_bytes_s = 0;       // that a node takes of a model's files at most; 0: as its link
};

struct Replan {
  struct Bring {
    int task = 0, node = 0;
    double seconds = 0;
  };
  Holders places;  // by task
  std::vector<Bring> moves;
  double present = 0, planned = 0;  // levels
  double error = 0;                 // standard error of their difference
  double gain_s = 0, cost_s = 0;
};

// The busiest node's level where the holders share each task's calls, within a few hundredths of the least possible; infinite where a task has none.
double PresentLevel(const Allocation& now);
// The plan, whatever it is worth; nullopt: there is none, or it moves nothing.
std::optional<Replan> BestPlan(const Allocation& now, const ReplanOptions& options);
bool WorthIt(const Replan& plan, const ReplanOptions& options);
// Only the replicas that are missing of `least` are brought, where there is room beside what serves; nullopt: there is none, or nothing is missing.
std::optional<Replan> AddMissing(const Allocation& now, const ReplanOptions& options);

}  // namespace evenkeel
