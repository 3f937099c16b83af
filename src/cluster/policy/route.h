// Which replica a request goes to: the utility of B6 with live figures, and the rules that it is compared with.
//
// `utility`: the replica that is expected to answer first:  forward + backlog / C + service,  with the backlog that is expected now (Backlog): figures are old, the node has
//   worked since, and all gateways have sent there. What this gateway itself has under way there is the least that it can be. Equal ones take turns.
//   Where about all that is expected anywhere is this gateway's own work (OwnPart), a request's own service counts by half: its time on a slow node is its own loss alone,
//   but the time that it takes on a fast one is lost to this gateway's next requests too. Whoever is one of many gateways can't reserve room by that.
//   Where nothing is under way anywhere a request's service counts whole: there are no next requests for which room would be kept, and a lone one on a slow node that is nearer would be answered
//   later for nothing.
//   Sequences run side by side: their wait is one for a slot, and what they take from each other is counted as such (sequence_cost.h), in place of backlog and OwnPart.
//   Among more than kFewReplicas that may be chosen it looks at two, drawn by capacity: many gateways with the same old figures would all run to the same best node, and to the next one together
//   (Mitzenmacher, How Useful Is Old Information?, 2000).
// `method`: the highest u = -(c / mean c + L / C), the mean over those that may be chosen, L with the request counted in, figures as they came.
// `least-loaded`: the least that this gateway has under way there, by capacity. `two-choices`: the less loaded of two drawn evenly. `weighted`: smooth weighted
//   round robin by weight (nginx's rule). `random`: even.
// Contract: a suspect replica is never chosen; -1 where there is no other. Deterministic by seed. Thread-safety: single-owner.
// Source: B6.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/policy/sequence_cost.h"
#include "core/status.h"

namespace evenkeel {

struct ReplicaView {
  double capacity = 1;       // of its node, > 0
  double weight = 0;         // `weighted`: its part of the turns; 0: its capacity
  double load_s = 0;         // work there, at capacity 1, by the latest figures
  double backlog_s = 0;      // work that is expected there now
  double outstanding_s = 0;  // work that this gateway sent there and that is not answered
  double service_s = 0;      // of this request there
  double forward_s = 0;      // there and back
  // Of a sequence, which runs side by side with others: in place of the backlog, for `utility`.
  std::optional<SequenceCost> sequence = {};
  bool suspect = false;  // gets no new work
};

// The work that a gateway expects on a node: from old figures, what was worked off since, and what was sent there since. It sees only what it sent itself, and takes it
// that the others do as it does: each of its own sends counts `alike` times, the gateways' arrivals over its own.
class Backlog {
 public:
  explicit Backlog(double capacity) : capacity_(capacity) {}
  // Figures made at `made_s`, seen now; older ones than those that are known say nothing. now_s never goes back.
  void OnFigures(double load_s, double made_s, double now_s, double alike);
  void OnSent(double work_s, double now_s, double alike);
  double At(double now_s) const;
  void set_capacity(double capacity) { capacity_ = capacity; }

 private:
  void WorkOff(double until_s);

  double capacity_;
  double work_s_ = 0, at_s_ = 0;
  double made_s_ = 0;                           // the latest figures
  std::deque<std::pair<double, double>> sent_;  // when, work; since the latest figures were made
};

enum class RouteRule : uint8_t { kUtility, kMethod, kLeastLoaded, kTwoChoices, kWeighted, kRandom };
std::string_view NameOf(RouteRule rule);
Result<RouteRule> RouteRuleNamed(std::string_view name);
std::vector<RouteRule> RouteRules();

class Router {
 public:
  static constexpr size_t kFewReplicas = 8;
  static constexpr double kHalf = 0.5;     // of its own service, where nobody else sends:
  static constexpr double kOwnWork = 1.5;  // at most so many times its own is expected

  // What a request's own service counts for, of 1. kHalf only while this gateway has work under way.
  static double OwnPart(std::span<const ReplicaView> replicas);

  Router(RouteRule rule, uint64_t seed) : rule_(rule), random_(seed) {}
  int Choose(std::span<const ReplicaView> replicas);

 private:
  int Least(std::span<const ReplicaView> replicas, double (*cost)(const ReplicaView&, double),
            double scale);
  int Weighted(std::span<const ReplicaView> replicas);
  int Drawn(std::span<const ReplicaView> replicas);
  int DrawnByCapacity(std::span<const ReplicaView> replicas, int but = -1);
  int OfTwo(std::span<const ReplicaView> replicas);
  uint64_t Next();

  RouteRule rule_;
  uint64_t random_;
  size_t round_ = 0;            // where looking begins
  std::vector<double> credit_;  // of `weighted`
};

}  // namespace evenkeel
