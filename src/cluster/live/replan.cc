#include "cluster/live/replan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cluster/policy/replicas.h"

namespace evenkeel {
namespace {

// Of a node's level, if what goes to it is known exactly and what that takes is not.
double ErrorOf(const Allocation& now, const Eigen::MatrixXd& shares, int node) {
  if (now.error.size() == 0) return 0;
  double sum = 0;
  for (int task = 0; task < now.problem.tasks(); ++task) {
    if (shares(task, node) <= 0) continue;
    const double off = shares(task, node) * now.problem.seconds(task, node) * now.error(task, node);
    sum += off * off;
  }
  return std::sqrt(sum);
}

bool AllAreServed(const Allocation& now) {
  return std::ranges::none_of(now.holders, [](const auto& holders) { return holders.empty(); });
}

// REQUIRES: every task has a holder, and there is a node.
SharedWork SharedNow(const Allocation& now) {
  return ShareOut(now.problem, now.holders, AtTheirBest(now.problem, now.holders));
}

std::optional<Replan> Made(const Allocation& now, const ReplanOptions& options, bool only_add) {
  if (now.problem.tasks() == 0 || now.problem.nodes() < 2) return std::nullopt;
  ReplicaOptions plan_options;
  plan_options.only_add = only_add;
  plan_options.plan.improve.most_trials = options.most_trials;
  auto plan = MakeReplicaPlan({now.problem, now.least, {}, now.holders}, plan_options);
  if (!plan.ok()) return std::nullopt;
  Replan replan;
  replan.planned = plan->score.makespan_s;
  replan.present = kImpossible;
  if (AllAreServed(now)) {
    const SharedWork shares = SharedNow(now);
    replan.present = shares.makespan_s();
    replan.error = std::hypot(ErrorOf(now, shares.of, shares.busiest()),
                              ErrorOf(now, plan->shares.of, plan->shares.busiest()));
  }
  replan.places = std::move(plan->places);
  for (int task = 0; task < now.problem.tasks(); ++task) {
    const auto& holders = now.holders[static_cast<size_t>(task)];
    for (const int node : replan.places[static_cast<size_t>(task)]) {
      if (std::ranges::find(holders, node) != holders.end()) continue;
      replan.moves.push_back({task, node, now.bring_s(task, node)});
      replan.cost_s += now.bring_s(task, node);
    }
  }
  if (replan.moves.empty()) return std::nullopt;
  replan.gain_s = (replan.present - replan.planned) * options.horizon_s;
  return replan;
}

}  // namespace

double PresentLevel(const Allocation& now) {
  if (!AllAreServed(now)) return kImpossible;
  return now.problem.nodes() == 0 ? 0 : SharedNow(now).makespan_s();
}

std::optional<Replan> BestPlan(const Allocation& now, const ReplanOptions& options) {
  return Made(now, options, /*only_add=*/false);
}

std::optional<Replan> AddMissing(const Allocation& now, const ReplanOptions& options) {
  return Made(now, options, /*only_add=*/true);
}

bool WorthIt(const Replan& plan, const ReplanOptions& options) {
  const double fall = plan.present - plan.planned;
  return std::isfinite(plan.cost_s) && plan.gain_s > options.hysteresis * plan.cost_s &&
         fall >= options.least_fall && fall >= options.least_share * plan.present &&
         fall >= options.least_errors * plan.error;
}

}  // namespace evenkeel
