#include "cluster/live/replan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "cluster/policy/plan.h"

namespace evenkeel {
namespace {

constexpr int kRounds = 1000;     // of sharing out
constexpr double kNear = 0.99;    // of the highest level: such a node is as busy
constexpr double kEnough = 1e-4;  // of the highest level: smaller steps gain nothing

// What of each task's calls goes to each node, and what that makes of the nodes' levels.
struct Shares {
  Eigen::MatrixXd of;  // tasks x nodes, rows sum to 1
  std::vector<double> levels;
};

Shares AllAtTheirBest(const Allocation& now) {
  Shares shares;
  shares.of = Eigen::MatrixXd::Zero(now.problem.tasks(), now.problem.nodes());
  shares.levels = now.problem.present_s;
  for (int task = 0; task < now.problem.tasks(); ++task) {
    const auto& holders = now.holders[static_cast<size_t>(task)];
    const int best = *std::ranges::min_element(
        holders, {}, [&](int node) { return now.problem.seconds(task, node); });
    shares.of(task, best) = 1;
    shares.levels[static_cast<size_t>(best)] += now.problem.seconds(task, best);
  }
  return shares;
}

// Takes work off the node until the two are level; the exchange that costs least. False: nothing helps.
bool Relieve(const Allocation& now, int from, Shares* shares) {
  const double level = shares->levels[static_cast<size_t>(from)];
  int best_task = -1, best_to = -1;
  double best_ratio = 0, best_part = 0;
  for (int task = 0; task < now.problem.tasks(); ++task) {
    const double share = shares->of(task, from);
    if (share <= 0) continue;
    const double here = now.problem.seconds(task, from);
    for (const int to : now.holders[static_cast<size_t>(task)]) {
      const double there = now.problem.seconds(task, to);
      const double gap = level - shares->levels[static_cast<size_t>(to)];
      if (to == from || gap <= kEnough * level || !std::isfinite(there)) continue;
      const double part = std::min(share, gap / (here + there));
      if (part * here <= kEnough * level) continue;
      const double ratio = there / here;
      if (best_task >= 0 && ratio >= best_ratio) continue;
      best_task = task;
      best_to = to;
      best_ratio = ratio;
      best_part = part;
    }
  }
  if (best_task < 0) return false;
  shares->of(best_task, from) -= best_part;
  shares->of(best_task, best_to) += best_part;
  shares->levels[static_cast<size_t>(from)] -= best_part * now.problem.seconds(best_task, from);
  shares->levels[static_cast<size_t>(best_to)] +=
      best_part * now.problem.seconds(best_task, best_to);
  return true;
}

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

// REQUIRES: every task has a holder, and there is a node.
Shares SharedOut(const Allocation& now) {
  Shares shares = AllAtTheirBest(now);
  std::vector<int> order(shares.levels.size());
  std::iota(order.begin(), order.end(), 0);
  for (int round = 0; round < kRounds; ++round) {
    std::ranges::stable_sort(order, std::greater<>(),
                             [&](int node) { return shares.levels[static_cast<size_t>(node)]; });
    const double highest = shares.levels[static_cast<size_t>(order.front())];
    // Where the busiest can give nothing on, another that is as busy may make room for it.
    const bool helped = std::ranges::any_of(order, [&](int node) {
      return shares.levels[static_cast<size_t>(node)] >= kNear * highest &&
             Relieve(now, node, &shares);
    });
    if (!helped) break;
  }
  return shares;
}

int Busiest(const std::vector<double>& levels) {
  return static_cast<int>(std::ranges::max_element(levels) - levels.begin());
}

bool AllAreServed(const Allocation& now) {
  return std::ranges::none_of(now.holders, [](const auto& holders) { return holders.empty(); });
}

}  // namespace

double PresentLevel(const Allocation& now) {
  if (!AllAreServed(now)) return kImpossible;
  return now.problem.nodes() == 0 ? 0 : std::ranges::max(SharedOut(now).levels);
}

std::optional<Replan> BestPlan(const Allocation& now, const ReplanOptions& options) {
  if (now.problem.tasks() == 0 || now.problem.nodes() < 2) return std::nullopt;
  PlanOptions plan_options;
  plan_options.improve.most_trials = options.most_trials;
  const auto plan = MakePlan(now.problem, plan_options);
  if (!plan.ok()) return std::nullopt;
  Replan replan;
  replan.placement = plan->placement;
  replan.planned = plan->score.makespan_s;
  replan.present = kImpossible;
  if (AllAreServed(now)) {
    const Shares shares = SharedOut(now);
    const int busiest = Busiest(shares.levels);
    replan.present = shares.levels[static_cast<size_t>(busiest)];
    Eigen::MatrixXd planned = Eigen::MatrixXd::Zero(shares.of.rows(), shares.of.cols());
    for (int task = 0; task < now.problem.tasks(); ++task)
      planned(task, replan.placement[static_cast<size_t>(task)]) = 1;
    replan.error =
        std::hypot(ErrorOf(now, shares.of, busiest),
                   ErrorOf(now, planned, Busiest(LoadsOf(now.problem, replan.placement))));
  }
  for (int task = 0; task < now.problem.tasks(); ++task) {
    const int node = replan.placement[static_cast<size_t>(task)];
    const auto& holders = now.holders[static_cast<size_t>(task)];
    if (std::ranges::find(holders, node) != holders.end()) continue;
    replan.moves.push_back({task, node, now.bring_s(task, node)});
    replan.cost_s += now.bring_s(task, node);
  }
  if (replan.moves.empty()) return std::nullopt;
  replan.gain_s = (replan.present - replan.planned) * options.horizon_s;
  return replan;
}

bool WorthIt(const Replan& plan, const ReplanOptions& options) {
  const double fall = plan.present - plan.planned;
  return std::isfinite(plan.cost_s) && plan.gain_s > options.hysteresis * plan.cost_s &&
         fall >= options.least_fall && fall >= options.least_share * plan.present &&
         fall >= options.least_errors * plan.error;
}

}  // namespace evenkeel
