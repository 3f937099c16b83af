// Which replica a request goes to: the utility of B6 with live figures, and the rules that it is compared with.
//
// `utility`: the replica that is expected to answer first,  forward + max(0, load - age C) / C + sent / C + service.  Figures are old: what a node had then it has been working
//   off since, at its capacity, and what this gateway sent there since came on top. Equal ones: the first from a place that goes round.
// `method`: the highest u = -(c / mean c + L / C), L with the request counted in, figures as they came.
// `least-loaded`: the least (load + sent) / C. `two-choices`: the less loaded of two drawn evenly. `weighted`: smooth weighted round robin by
//   capacity (nginx's rule). `random`: even.
// Contract: a suspect replica is never chosen; -1 where there is no other. Deterministic by seed. Thread-safety: single-owner.
// Source: B6.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

struct ReplicaView {
  double capacity = 1;   // of its node, > 0
  double load_s = 0;     // work there, at capacity 1, when its figures were made
  double age_s = 0;      // of the figures
  double sent_s = 0;     // work that this gateway sent there since
  double service_s = 0;  // of this request there
  double forward_s = 0;  // there and back
  bool suspect = false;  // gets no new work
};

enum class RouteRule : uint8_t { kUtility, kMethod, kLeastLoaded, kTwoChoices, kWeighted, kRandom };
std::string_view NameOf(RouteRule rule);
Result<RouteRule> RouteRuleNamed(std::string_view name);
std::vector<RouteRule> RouteRules();

class Router {
 public:
  Router(RouteRule rule, uint64_t seed) : rule_(rule), random_(seed) {}
  int Choose(std::span<const ReplicaView> replicas);

 private:
  int Least(std::span<const ReplicaView> replicas, double (*cost)(const ReplicaView&, double),
            double scale);
  int Weighted(std::span<const ReplicaView> replicas);
  int Drawn(std::span<const ReplicaView> replicas);
  uint64_t Next();

  RouteRule rule_;
  uint64_t random_;
  size_t round_ = 0;            // where looking begins
  std::vector<double> credit_;  // of `weighted`
};

}  // namespace evenkeel
