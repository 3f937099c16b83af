#include "cluster/live/feedback.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "cluster/live/replica_wishes.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using NodeView = ReplicaTable::NodeView;

// Where nothing was measured: from a disk, and the least that a start takes.
constexpr double kLoadBytesPerS = 200e6, kLeastLoad = 1;
constexpr double kLinkBytesPerS = 12.5e6;  // the slowest link of a LAN

bool Counts(const NodeView& node) {
  return node.known && !node.suspect && node.figures.resources.gflops > 0;
}

// What is known of one model on all nodes together.
struct Served {
  double calls_rows = 0, rate = 0;  // for the mean rows of a call
  int64_t memory = 0;
  double start_up_s = 0;
  std::vector<int> holders;
};

uint64_t Mixed(uint64_t one, uint64_t other) {
  uint64_t x = one + 0x9e3779b97f4a7c15 * (other + 1);  // splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Who is there and serves what; the same in any order.
uint64_t ShapeOf(std::span<const NodeView> nodes) {
  const std::hash<std::string_view> hash;
  uint64_t shape = 0;
  for (const NodeView& node : nodes) {
    if (!Counts(node)) continue;
    const uint64_t name = hash(node.name);
    shape += Mixed(name, 0);
    for (const ModelFigures& model : node.figures.models) shape += Mixed(name, hash(model.name));
  }
  return shape;
}

// Of a cost, relative. A prediction is off by as much as those of the factorisation may be (B5).
double ErrorOf(const MeasuredCosts::Pair& pair) {
  constexpr double kPredicted = 0.15;
  return pair.measured_s > 0 ? pair.noise / std::sqrt(static_cast<double>(pair.samples))
                             : kPredicted;
}

double BringSeconds(const Served& model, const NodeView& to, double copy_bytes_s) {
  double link = to.bytes_per_s > 0 ? to.bytes_per_s : kLinkBytesPerS;
  if (copy_bytes_s > 0) link = std::min(link, copy_bytes_s);
  const auto bytes = static_cast<double>(model.memory);
  const double load =
      model.start_up_s > 0 ? model.start_up_s : std::max(kLeastLoad, bytes / kLoadBytesPerS);
  return bytes / link + load;
}

}  // namespace

void Feedback::Ask(std::string reason, double now_s) {
  if (reason_.empty()) {
    reason_ = std::move(reason);
    asking_since_s_ = now_s;
  }
  asking_until_s_ = now_s + kAsking;
}

double Feedback::RateOf(std::string_view model) const {
  const auto at = rates_.find(model);
  return at == rates_.end() ? 0 : at->second.cost();
}

double Feedback::RateError(std::string_view model) const {
  const auto at = rates_.find(model);
  return at == rates_.end() || !at->second.known()
             ? 1
             : at->second.noise() / std::sqrt(static_cast<double>(at->second.count()));
}

void Feedback::LookAtRates(std::span<const NodeView> nodes, double now_s) {
  std::map<std::string_view, double> sums;
  for (const NodeView& node : nodes) {
    if (!Counts(node)) continue;
    for (const ModelFigures& model : node.figures.models) sums[model.name] += model.rate_rps;
  }
  std::erase_if(rates_, [&](const auto& one) { return !sums.contains(one.first); });
  for (const auto& [name, sum] : sums) {
    const auto change = rates_[std::string(name)].OnCost(std::max(sum, kLeastRate));
    if (!change) continue;
    Ask(fmt::format("model '{}' is called {:.3g} times as often ({:.3g} a second, then {:.3g})",
                    name, change->after / change->before, change->before, change->after),
        now_s);
  }
}

void Feedback::LookAtShape(std::span<const NodeView> nodes, double now_s) {
  const uint64_t shape = ShapeOf(nodes);
  if (shape != next_shape_) {
    next_shape_ = shape;
    next_since_s_ = now_s;
  }
  if (next_shape_ == shape_ || now_s - next_since_s_ < kSettle) return;
  shape_ = next_shape_;
  Ask("nodes or models have come or gone", now_s);
}

void Feedback::LookAtReplicas(std::span<const NodeView> nodes, double now_s) {
  const bool asked =
      std::ranges::any_of(nodes, [](const NodeView& node) { return !node.figures.wishes.empty(); });
  const auto replicas = asked ? ReplicasNow(nodes) : decltype(ReplicasNow(nodes))();
  const auto is_missing = [](const auto& one) {
    return one.second.serving > 0 && one.second.asked > one.second.serving;
  };
  const auto missing = std::ranges::find_if(replicas, is_missing);
  if (missing == replicas.end()) {
    missing_since_s_.reset();
    tries_ = 0;
    return;
  }
  missing_ = 0;
  for (const auto& one : replicas) {
    if (is_missing(one))
      missing_ +=
          Mixed(std::hash<std::string_view>()(one.first), static_cast<uint64_t>(one.second.asked));
  }
  if (!missing_since_s_) missing_since_s_ = now_s;
  if (now_s - *missing_since_s_ < kRestore) return;
  missing_since_s_ = now_s;  // if nothing can be done now, it is tried again after as long
  restoring_ = true;
  Ask(fmt::format("model '{}' has {} of {} replicas that were asked for", missing->first,
                  missing->second.serving, missing->second.asked),
      now_s);
}

double Feedback::RestoreWait(int tries) const {
  constexpr int kDoublings = 30;
  return std::min(kMostRestoreWait,
                  std::ldexp(options_.horizon_s, std::clamp(tries - 1, 0, kDoublings)));
}

Allocation Feedback::AllocationOf(std::span<const NodeView> all, double now_s) const {
  std::vector<const NodeView*> nodes;
  for (const NodeView& node : all) {
    if (Counts(node)) nodes.push_back(&node);
  }
  std::map<std::string_view, Served> models;
  Allocation now;
  for (size_t i = 0; i < nodes.size(); ++i) {
    now.nodes.push_back(nodes[i]->name);
    for (const ModelFigures& model : nodes[i]->figures.models) {
      if (RateOf(model.name) < 1.01 * kLeastRate || costs_.WorkOf(model.name) <= 0) continue;
      Served& served = models[model.name];
      served.calls_rows += model.rate_rps * model.call_rows;
      served.rate += model.rate_rps;
      served.memory = std::max(served.memory, model.memory_bytes);
      served.start_up_s = std::max(served.start_up_s, model.start_up_s);
      // Two versions have one room, as in FreeWithoutModels().
      if (served.holders.empty() || served.holders.back() != static_cast<int>(i))
        served.holders.push_back(static_cast<int>(i));
    }
    now.problem.room.push_back(nodes[i]->figures.free_memory_bytes);
    now.problem.present_s.push_back(0);
  }
  // What serves somewhere has its room there, though it may take more on another node, which runs more of it side by side.
  for (const auto& [_, served] : models) {
    for (const int node : served.holders)
      now.problem.room[static_cast<size_t>(node)] += served.memory;
  }
  const auto count = static_cast<Eigen::Index>(nodes.size());
  const auto tasks = static_cast<Eigen::Index>(models.size());
  now.problem.seconds = Eigen::MatrixXd::Constant(tasks, count, kImpossible);
  now.bring_s = now.error = Eigen::MatrixXd::Zero(tasks, count);
  const auto replicas = ReplicasNow(all);
  Eigen::Index task = 0;
  for (const auto& [name, served] : models) {
    now.tasks.emplace_back(name);
    const auto kept = replicas.find(name);
    // Those beyond what was asked for may have come with the load: a plan that takes them away would be to and fro. One by one they go by kept_.
    now.least.push_back(
        kept == replicas.end() ? 1 : std::max(kept->second.least(), kept->second.serving));
    now.problem.memory.push_back(served.memory);
    now.holders.push_back(served.holders);
    const double rows = served.rate > 0 ? served.calls_rows / served.rate : 1;
    for (Eigen::Index node = 0; node < count; ++node) {
      const NodeView& view = *nodes[static_cast<size_t>(node)];
      const auto pair = costs_.Of(name, view, now_s);
      if (!pair || served.memory > now.problem.room[static_cast<size_t>(node)]) continue;
      now.problem.seconds(task, node) =
          std::max(1e-9, RateOf(name) * rows * pair->best_s() / view.figures.cores);
      now.bring_s(task, node) = BringSeconds(served, view, options_.copy_bytes_s);
      now.error(task, node) = std::hypot(RateError(name), ErrorOf(*pair));
    }
    ++task;
  }
  return now;
}

std::optional<Feedback::Proposal> Feedback::Look(std::span<const NodeView> nodes, double now_s) {
  auto proposal = LookForPlan(nodes, now_s);
  kept_.Look(nodes, costs_, now_s);
  if (proposal) {
    gave_up_.clear();
    return proposal;
  }
  return reason_.empty() && !Quiet(now_s) ? LookForSurplus(nodes, now_s) : std::nullopt;
}

bool Feedback::Quiet(double now_s) const {
  return (proposed_s_ && now_s - *proposed_s_ < kQuiet) ||
         (gave_up_s_ && now_s - *gave_up_s_ < kQuiet);
}

void Feedback::NotTried() {
  if (!gave_up_.empty()) return kept_.NotDone(gave_up_, *gave_up_s_);
  tries_ = tries_ > 0 ? tries_ - 1 : 0;
}

std::optional<Feedback::Proposal> Feedback::LookForSurplus(std::span<const NodeView> nodes,
                                                           double now_s) {
  // As a plan counts: what is called less often is not brought.
  const auto rate_of = [this](std::string_view model) {
    const double rate = RateOf(model);
    return rate < 1.01 * kLeastRate ? 0.0 : rate;
  };
  auto given = kept_.Choose(nodes, costs_, rate_of, now_s);
  if (!given) return std::nullopt;
  gave_up_ = given->model;
  gave_up_s_ = now_s;
  Proposal proposal;
  proposal.tasks = {given->model};
  proposal.nodes = std::move(given->stay);
  std::vector<int> places(proposal.nodes.size());
  std::iota(places.begin(), places.end(), 0);
  proposal.plan.places = {std::move(places)};
  proposal.nodes.push_back(given->node);
  proposal.reason = std::move(given->reason);
  proposal.at_s = now_s;
  proposal.leaves = std::move(given->node);
  return proposal;
}

std::optional<Feedback::Proposal> Feedback::LookForPlan(std::span<const NodeView> nodes,
                                                        double now_s) {
  for (const MeasuredCosts::Drift& drift : costs_.Look(nodes, now_s)) {
    Ask(fmt::format("a row of '{}' on node '{}' takes {:.3g} times what it took ({:.3g} ms, then "
                    "{:.3g} ms of a core)",
                    drift.model, drift.node, drift.row_s.after / drift.row_s.before,
                    drift.row_s.before * 1e3, drift.row_s.after * 1e3),
        now_s);
  }
  LookAtRates(nodes, now_s);
  LookAtShape(nodes, now_s);
  LookAtReplicas(nodes, now_s);
  if (reason_.empty()) return std::nullopt;
  if (now_s > asking_until_s_) {
    reason_.clear();
    restoring_ = false;
    return std::nullopt;
  }
  if (now_s - asking_since_s_ < kGather) return std::nullopt;
  if (Quiet(now_s)) return std::nullopt;
  Allocation now = AllocationOf(nodes, now_s);
  auto plan = BestPlan(now, options_);
  const bool worth = plan && WorthIt(*plan, options_);
  bool restores = false;
  if (!worth && restoring_) {
    if (auto added = AddMissing(now, options_)) {
      plan = std::move(added);
      restores = true;
    }
  }
  if (!plan) {
    passed_over_ = "no plan moves anything";
    return std::nullopt;
  }
  if (!worth && !restores) {
    passed_over_ = fmt::format(
        "a plan with {} moves would take the busiest node from {:.3g} to {:.3g} s of work a second "
        "(give or take {:.2g}; {:.3g} s in {:.0f} s) and cost {:.3g} s",
        plan->moves.size(), plan->present, plan->planned, plan->error, plan->gain_s,
        options_.horizon_s, plan->cost_s);
    return std::nullopt;
  }
  const uint64_t trial = Mixed(next_shape_, missing_);
  if (restores && tries_ > 0 && tried_ == trial && now_s - tried_s_ < RestoreWait(tries_)) {
    passed_over_ = fmt::format(
        "replicas that are missing were to be brought {} times, and are not there: again {:.0f} s "
        "after the last time",
        tries_, RestoreWait(tries_));
    return std::nullopt;
  }
  const bool stands =
      proposed_s_ && now_s - *proposed_s_ < options_.horizon_s && proposed_shape_ == next_shape_;
  if (stands && (restores || plan->gain_s < kMore * proposed_gain_s_)) {
    passed_over_ = "the last proposal stands";
    return std::nullopt;
  }
  passed_over_.clear();
  restoring_ = false;
  proposed_s_ = now_s;
  proposed_shape_ = next_shape_;
  proposed_gain_s_ = plan->gain_s;
  Proposal proposal{*std::move(plan),
                    std::move(now.tasks),
                    std::move(now.nodes),
                    std::exchange(reason_, {}),
                    now_s,
                    restores,
                    0,
                    0};
  if (restores) {
    tries_ = tried_ == trial ? tries_ + 1 : 1;
    tried_ = trial;
    tried_s_ = now_s;
    proposal.tries = tries_;
    proposal.again_s = RestoreWait(tries_);
  }
  return proposal;
}

}  // namespace evenkeel
