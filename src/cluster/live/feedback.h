// Looks at what nodes measure, once a second, and says when another plan is worth its moves (B9).
//
// A plan is asked for when a cost, or how often a model is called, has changed beyond its noise (cost_drift.h), and when nodes or models have come or gone and kSettle has passed
//   since. From kGather to kAsking after that each look weighs the best plan against the present (replan.h): not all figures change at once.
// Where fewer replicas of a model serve than people asked for, and that for kRestore, those that are missing are proposed whatever the gain, if they find room.
//   Where that comes to nothing it is proposed again after the horizon, then after twice as long each time, kMostRestoreWait at most; from the start where what is missing, who is there or what
//   serves where has changed.
// Where more serve than people asked for and one of them is wanted no more (kept_replicas.h), it is proposed to leave, once, and each KeptReplicas::kAgain where it came to nothing, while nothing else asks for a plan. Plans by themselves take none away.
// Contract: nothing is proposed within kQuiet of the proposal before, and while that stands (within its horizon, by the same nodes and models) nothing that gains less than
//   kMore times as much. Models that nobody calls stay where they are, but for replicas beyond what was asked for.
// Deterministic. Units: seconds. Thread-safety: single-owner. Source: B9.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cluster/live/cost_drift.h"
#include "cluster/live/kept_replicas.h"
#include "cluster/live/measured_costs.h"
#include "cluster/live/replan.h"
#include "cluster/live/replica_table.h"

namespace evenkeel {

class Feedback {
 public:
  static constexpr double kPeriod = 1, kQuiet = 30, kAsking = 30, kSettle = 10, kGather = 2;
  static constexpr double kMore = 1.25;
  static constexpr double kRestore = 300;  // a node that restarts is back by then
  static constexpr double kMostRestoreWait = 4 * 3600;
  static constexpr double kLeastRate = 0.05;  // calls a second; fewer count as this

  struct Proposal {
    Replan plan;
    std::vector<std::string> tasks, nodes;  // what the plan's indices mean
    std::string reason;                     // what asked for it
    double at_s = 0;
    bool restores = false;  // it brings what was asked for, and is not worth it otherwise
    int tries = 0;          // of a restoration: how often the same was proposed, this time included
    double again_s = 0;     // and after how long it is again, if it comes to nothing
    // A node that the only task leaves, which has a replica beyond what was asked for; "": none. Such a plan has places, and neither moves nor levels.
    std::string leaves = {};
  };

  explicit Feedback(ReplanOptions options = {}) : options_(options) {}

  // `nodes`: all that are known, suspect ones too.
  std::optional<Proposal> Look(std::span<const ReplicaTable::NodeView> nodes, double now_s);

  // The last proposal, a restoration or a replica that leaves, was held up by something that says nothing of it: it is no try.
  void NotTried();
  // Seconds from the try of that number, the first is 1, to the next.
  double RestoreWait(int tries) const;

  const MeasuredCosts& costs() const { return costs_; }
  // Calls of a model a second, of all nodes; 0: not known.
  double RateOf(std::string_view model) const;
  // What asks for a plan now; "": nothing.
  const std::string& asking() const { return reason_; }
  // The plan that was weighed last, and why it was not proposed; "": none was, or it was.
  const std::string& passed_over() const { return passed_over_; }

 private:
  std::optional<Proposal> LookForPlan(std::span<const ReplicaTable::NodeView> nodes, double now_s);
  std::optional<Proposal> LookForSurplus(std::span<const ReplicaTable::NodeView> nodes,
                                         double now_s);
  bool Quiet(double now_s) const;                  // something was proposed a moment ago
  double RateError(std::string_view model) const;  // standard, relative
  void LookAtRates(std::span<const ReplicaTable::NodeView> nodes, double now_s);
  void LookAtShape(std::span<const ReplicaTable::NodeView> nodes, double now_s);
  void LookAtReplicas(std::span<const ReplicaTable::NodeView> nodes, double now_s);
  void Ask(std::string reason, double now_s);
  Allocation AllocationOf(std::span<const ReplicaTable::NodeView> nodes, double now_s) const;

  const ReplanOptions options_;
  MeasuredCosts costs_;
  std::map<std::string, CostDrift, std::less<>> rates_;
  uint64_t shape_ = 0, next_shape_ = 0;  // who serves what
  double next_since_s_ = 0;
  std::string reason_, passed_over_;
  double asking_since_s_ = 0, asking_until_s_ = 0;
  std::optional<double> missing_since_s_;  // replicas that were asked for
  bool restoring_ = false;                 // they are what asks
  uint64_t missing_ = 0;                   // which
  int tries_ = 0;                          // to restore the same
  uint64_t tried_ = 0;  // what was: the nodes, what serves there, what is missing
  double tried_s_ = 0;
  std::optional<double> proposed_s_;
  uint64_t proposed_shape_ = 0;  // of the last proposal
  double proposed_gain_s_ = 0;
  KeptReplicas kept_;
  std::string gave_up_;  // the model of the last proposal, if a replica of it was to leave
  std::optional<double> gave_up_s_;
};

}  // namespace evenkeel
