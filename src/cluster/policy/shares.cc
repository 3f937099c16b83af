#include "cluster/policy/shares.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

namespace evenkeel {
namespace {

constexpr double kNear = 0.99;    // of the highest level: such a node is as busy
constexpr double kEnough = 1e-4;  // of the highest level: smaller steps gain nothing

size_t Index(int i) { return static_cast<size_t>(i); }

// Takes work off the node until the two are level; the exchange that costs least. False: nothing helps.
bool Relieve(const PlacementProblem& problem, const Holders& holders, int from,
             SharedWork* shares) {
  const double level = shares->levels[Index(from)];
  int best_task = -1, best_to = -1;
  double best_ratio = 0, best_part = 0;
  for (int task = 0; task < problem.tasks(); ++task) {
    const double share = shares->of(task, from);
    if (share <= 0) continue;
    const double here = problem.seconds(task, from);
    for (const int to : holders[Index(task)]) {
      const double there = problem.seconds(task, to);
      const double gap = level - shares->levels[Index(to)];
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
  shares->levels[Index(from)] -= best_part * problem.seconds(best_task, from);
  shares->levels[Index(best_to)] += best_part * problem.seconds(best_task, best_to);
  return true;
}

SharedWork Nothing(const PlacementProblem& problem) {
  return {Eigen::MatrixXd::Zero(problem.tasks(), problem.nodes()), problem.present_s};
}

}  // namespace

int SharedWork::busiest() const {
  return static_cast<int>(std::ranges::max_element(levels) - levels.begin());
}

double SharedWork::TotalSeconds(const PlacementProblem& problem) const {
  double total = 0;
  for (int task = 0; task < problem.tasks(); ++task) {
    for (int node = 0; node < problem.nodes(); ++node) {
      if (of(task, node) > 0) total += of(task, node) * problem.seconds(task, node);
    }
  }
  return total;
}

SharedWork AtTheirBest(const PlacementProblem& problem, const Holders& holders) {
  SharedWork shares = Nothing(problem);
  for (int task = 0; task < problem.tasks(); ++task) {
    const int best = *std::ranges::min_element(
        holders[Index(task)], {}, [&](int node) { return problem.seconds(task, node); });
    shares.of(task, best) = 1;
    shares.levels[Index(best)] += problem.seconds(task, best);
  }
  return shares;
}

SharedWork InEqualParts(const PlacementProblem& problem, const Holders& holders) {
  SharedWork shares = Nothing(problem);
  for (int task = 0; task < problem.tasks(); ++task) {
    const double part = 1.0 / static_cast<double>(holders[Index(task)].size());
    for (const int node : holders[Index(task)]) {
      shares.of(task, node) = part;
      shares.levels[Index(node)] += part * problem.seconds(task, node);
    }
  }
  return shares;
}

SharedWork ShareOut(const PlacementProblem& problem, const Holders& holders, SharedWork start,
                    int most_rounds) {
  SharedWork shares = std::move(start);
  std::vector<int> order(shares.levels.size());
  std::iota(order.begin(), order.end(), 0);
  for (int round = 0; round < most_rounds; ++round) {
    std::ranges::stable_sort(order, std::greater<>(),
                             [&](int node) { return shares.levels[Index(node)]; });
    const double highest = shares.levels[Index(order.front())];
    // Where the busiest can give nothing on, another that is as busy may make room for it.
    const bool helped = std::ranges::any_of(order, [&](int node) {
      return shares.levels[Index(node)] >= kNear * highest &&
             Relieve(problem, holders, node, &shares);
    });
    if (!helped) break;
  }
  return shares;
}

}  // namespace evenkeel
