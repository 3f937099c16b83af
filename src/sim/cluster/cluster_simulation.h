// Requests over unequal nodes in virtual time, with the cluster's own policy objects: routing by old figures, balance once a period, nodes that fail, return
// and become slow.
//
// Model: every node is a gateway, and works through its queue one request at a time at `capacity` seconds of work a second. A request comes to a gateway drawn evenly, is routed
//   by the rule, and takes `forward_s` there and back unless it stays. Figures are made once a period and seen `age` periods later; an answer
//   tells its gateway the load of its node as well. A node that fails loses what it had: its
//   requests are sent elsewhere by their gateways after `detect_s`, when their links to it are known to be broken. It is suspect from then on, or from the figures that did not
//   come, until it has told new ones and was well for the hold of node_health.h; where many go at once, moves freeze (mass_loss.h). Queued requests move by balance.h and moves.h as `balance` says; each move takes `move_s`.
// Left out: the link's bandwidth, batching within a node, the work of forwarding.
// Contract: every request that arrived is answered or still under way at the end, and `unanswered` counts the latter. Deterministic by seed.
// Thread-safety: pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cluster/policy/balance_rule.h"
#include "cluster/policy/route.h"
#include "sim/arrivals.h"
#include "sim/latency_counts.h"

namespace evenkeel::sim {

struct ClusterNode {
  std::string name;
  double capacity = 1;  // > 0
};

struct ClusterEvent {
  enum class Kind : uint8_t { kFail, kReturn, kSlow };
  double at_s = 0;
  int node = 0;
  Kind kind = Kind::kFail;
  double factor = 1;  // kSlow: of the capacity, > 0; 1: as before
};

struct ClusterScenario {
  std::vector<ClusterNode> nodes;
  std::shared_ptr<const ArrivalProcess> arrivals;
  double work_s = 0.01;  // of a request at capacity 1, mean
  double work_cv = 0;    // lognormal scatter
  double objective_s = 0.1;
  double forward_s = 0.0005;
  double period_s = 1;  // of figures and balance
  int age = 1;          // periods until figures are seen
  double detect_s = 1;
  BalanceRule balance = BalanceRule::kAuto;
  double move_s = 0.005;
  std::vector<ClusterEvent> events;  // by time
};

struct ClusterOptions {
  RouteRule rule = RouteRule::kUtility;
  double seconds = 60;
  double warm_up_s = 2;  // arrivals before it are not counted
  double factor = 1;     // on the arrivals' rate
  uint64_t seed = 1;
  int plot_bins = 0;  // spans of the series of levels; 0: none
};

struct ClusterOutcome {
  uint64_t arrived = 0, answered = 0, within = 0, unanswered = 0;  // of those counted
  uint64_t moved = 0, retried = 0;
  double frozen_s = 0;  // in which nothing was moved because many nodes went at once
  LatencyCounts latency;
  std::vector<double> utilisation;  // by node: share of the time that it worked
  std::vector<std::vector<double>>
      levels;  // by span, node: seconds until it is through with what it has
};

ClusterOutcome SimulateCluster(const ClusterScenario& scenario, const ClusterOptions& options);

}  // namespace evenkeel::sim
