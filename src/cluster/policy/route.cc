#include "cluster/policy/route.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr std::array<std::pair<RouteRule, std::string_view>, 6> kNames = {
    {{RouteRule::kUtility, "utility"},
     {RouteRule::kMethod, "method"},
     {RouteRule::kLeastLoaded, "least-loaded"},
     {RouteRule::kTwoChoices, "two-choices"},
     {RouteRule::kWeighted, "weighted"},
     {RouteRule::kRandom, "random"}}};

double Level(const ReplicaView& replica, double /*scale*/) {
  return replica.outstanding_s / replica.capacity;
}

double Expected(const ReplicaView& replica, double own_part) {
  if (replica.sequence) return replica.forward_s + replica.sequence->total_s();
  const double backlog = std::max(replica.backlog_s, replica.outstanding_s);
  return replica.forward_s + backlog / replica.capacity + own_part * replica.service_s;
}

double ByMethod(const ReplicaView& replica, double mean_service) {
  const double own = replica.service_s * replica.capacity;
  return replica.service_s / mean_service + (replica.load_s + own) / replica.capacity;
}

// That may be chosen.
size_t Open(std::span<const ReplicaView> replicas) {
  return static_cast<size_t>(std::ranges::count(replicas, false, &ReplicaView::suspect));
}

}  // namespace

void Backlog::WorkOff(double until_s) {
  work_s_ = std::max(0.0, work_s_ - (until_s - at_s_) * capacity_);
  at_s_ = until_s;
}

void Backlog::OnFigures(double load_s, double made_s, double now_s, double alike) {
  if (made_s < made_s_) return;
  made_s_ = made_s;
  while (!sent_.empty() && sent_.front().first <= made_s) sent_.pop_front();
  work_s_ = load_s;
  at_s_ = made_s;
  for (const auto& [when, work] : sent_) {
    WorkOff(when);
    work_s_ += work * alike;
  }
  WorkOff(now_s);
}

void Backlog::OnSent(double work_s, double now_s, double alike) {
  WorkOff(now_s);
  work_s_ += work_s * alike;
  sent_.emplace_back(now_s, work_s);
}

double Backlog::At(double now_s) const {
  return std::max(0.0, work_s_ - (now_s - at_s_) * capacity_);
}

std::string_view NameOf(RouteRule rule) {
  for (const auto& [one, name] : kNames) {
    if (one == rule) return name;
  }
  return "?";
}

Result<RouteRule> RouteRuleNamed(std::string_view name) {
  std::string known;
  for (const auto& [rule, one] : kNames) {
    if (one == name) return rule;
    known += (known.empty() ? "" : ", ") + std::string(one);
  }
  return InvalidArgument("no rule '{}'; there are {}", name, known);
}

std::vector<RouteRule> RouteRules() {
  std::vector<RouteRule> rules;
  for (const auto& [rule, name] : kNames) rules.push_back(rule);
  return rules;
}

uint64_t Router::Next() {
  uint64_t z = (random_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

int Router::Least(std::span<const ReplicaView> replicas, double (*cost)(const ReplicaView&, double),
                  double scale) {
  int best = -1;
  double least = std::numeric_limits<double>::infinity();
  ++round_;
  for (size_t i = 0; i < replicas.size(); ++i) {
    const size_t at = (round_ + i) % replicas.size();
    if (replicas[at].suspect) continue;
    const double now = cost(replicas[at], scale);
    if (now >= least) continue;
    least = now;
    best = static_cast<int>(at);
  }
  return best;
}

int Router::Weighted(std::span<const ReplicaView> replicas) {
  credit_.resize(replicas.size(), 0);
  double sum = 0;
  int best = -1;
  for (size_t i = 0; i < replicas.size(); ++i) {
    if (replicas[i].suspect) continue;
    const double weight = replicas[i].weight > 0 ? replicas[i].weight : replicas[i].capacity;
    credit_[i] += weight;
    sum += weight;
    if (best < 0 || credit_[i] > credit_[static_cast<size_t>(best)]) best = static_cast<int>(i);
  }
  if (best >= 0) credit_[static_cast<size_t>(best)] -= sum;
  return best;
}

int Router::Drawn(std::span<const ReplicaView> replicas) {
  const uint64_t count = Open(replicas);
  if (count == 0) return -1;
  uint64_t left = Next() % count;
  for (size_t i = 0; i < replicas.size(); ++i) {
    if (replicas[i].suspect) continue;
    if (left-- == 0) return static_cast<int>(i);
  }
  return -1;
}

// -1: there is none but `but`.
int Router::DrawnByCapacity(std::span<const ReplicaView> replicas, int but) {
  const auto taken = [&](size_t i) { return replicas[i].suspect || static_cast<int>(i) == but; };
  double sum = 0;
  for (size_t i = 0; i < replicas.size(); ++i) sum += taken(i) ? 0 : replicas[i].capacity;
  double left = static_cast<double>(Next() >> 11) * 0x1p-53 * sum;
  int last = -1;
  for (size_t i = 0; i < replicas.size(); ++i) {
    if (taken(i)) continue;
    last = static_cast<int>(i);
    left -= replicas[i].capacity;
    if (left < 0) break;
  }
  return last;
}

int Router::OfTwo(std::span<const ReplicaView> replicas) {
  const int a = DrawnByCapacity(replicas);
  const int b = a < 0 ? -1 : DrawnByCapacity(replicas, a);
  if (b < 0) return a;
  return Expected(replicas[static_cast<size_t>(b)], 1) <
                 Expected(replicas[static_cast<size_t>(a)], 1)
             ? b
             : a;
}

double Router::OwnPart(std::span<const ReplicaView> replicas) {
  double expected = 0, own = 0;
  for (const ReplicaView& one : replicas) {
    if (one.suspect) continue;
    expected += one.backlog_s;
    own += one.outstanding_s;
  }
  return own > 0 && expected <= kOwnWork * own ? kHalf : 1;
}

int Router::Choose(std::span<const ReplicaView> replicas) {
  switch (rule_) {
    case RouteRule::kUtility:
      return Open(replicas) <= kFewReplicas ? Least(replicas, Expected, OwnPart(replicas))
                                            : OfTwo(replicas);
    case RouteRule::kLeastLoaded: return Least(replicas, Level, 1);
    case RouteRule::kMethod: {
      double sum = 0;
      for (const ReplicaView& one : replicas) sum += one.suspect ? 0 : one.service_s;
      const double mean = sum / static_cast<double>(std::max<size_t>(1, Open(replicas)));
      return Least(replicas, ByMethod, mean > 0 ? mean : 1);
    }
    case RouteRule::kTwoChoices: {
      const int a = Drawn(replicas), b = Drawn(replicas);
      if (a < 0) return -1;
      return Level(replicas[static_cast<size_t>(b)], 1) < Level(replicas[static_cast<size_t>(a)], 1)
                 ? b
                 : a;
    }
    case RouteRule::kWeighted: return Weighted(replicas);
    case RouteRule::kRandom: return Drawn(replicas);
  }
  return -1;
}

}  // namespace evenkeel
