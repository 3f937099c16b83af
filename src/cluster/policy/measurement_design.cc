#include "cluster/policy/measurement_design.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace evenkeel {

std::vector<TaskOnNode> FirstPairs(const Eigen::MatrixXd& roofline, int each) {
  const auto nodes = static_cast<int>(roofline.cols());
  std::vector<TaskOnNode> pairs;
  for (int task = 0; task < roofline.rows(); ++task) {
    // From one task to the next the first node goes on by one, and once around, the stride to the others.
    const int stride = nodes > 1 ? 1 + task / nodes % (nodes - 1) : 1;
    int taken = 0;
    std::vector<bool> seen(static_cast<size_t>(nodes), false);
    for (int step = 0; step < 2 * nodes && taken < each; ++step) {
      // A stride that comes back to where it began leaves nodes out: those follow one by one.
      const int node = step < nodes ? (task + step * stride) % nodes : step - nodes;
      if (seen[static_cast<size_t>(node)]) continue;
      seen[static_cast<size_t>(node)] = true;
      if (!(roofline(task, node) < kImpossible)) continue;
      pairs.push_back({task, node});
      ++taken;
    }
  }
  return pairs;
}

std::vector<TaskOnNode> NextPairs(const Completion& costs, const Holders& plan, int most) {
  struct Candidate {
    TaskOnNode pair;
    double unsure_s;
  };
  std::vector<Candidate> candidates;
  for (int task = 0; task < static_cast<int>(plan.size()); ++task) {
    for (const int node : plan[static_cast<size_t>(task)]) {
      const double unsure_s = costs.seconds(task, node) * std::expm1(costs.deviation(task, node));
      if (unsure_s > 0 && costs.seconds(task, node) < kImpossible)
        candidates.push_back({{task, node}, unsure_s});
    }
  }
  std::ranges::stable_sort(candidates, std::greater<>(), &Candidate::unsure_s);
  std::vector<TaskOnNode> pairs;
  for (const Candidate& one : candidates) {
    if (static_cast<int>(pairs.size()) >= most) break;
    pairs.push_back(one.pair);
  }
  return pairs;
}

Eigen::MatrixXd CarefulCosts(const Completion& costs) {
  return costs.seconds.array() * (kCare * costs.deviation.array()).exp();
}

}  // namespace evenkeel
