#include "llm/policy/step_plan.h"

#include <algorithm>
#include <utility>

namespace evenkeel::policy {

std::vector<StepShare> PlanStep(std::span<const StepSequence> sequences, const StepLimits& limits) {
  std::vector<StepShare> plan;
  std::vector<size_t> prompts;
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].answers) {
      plan.push_back({i, 1});
    } else {
      prompts.push_back(i);
    }
  }
  int budget =
      std::max(0, std::min(limits.prompt_budget, limits.batch - static_cast<int>(plan.size())));
  std::ranges::stable_sort(
      prompts, {}, [&](size_t i) { return std::pair(sequences[i].priority, sequences[i].due); });
  for (const size_t i : prompts) {
    const int tokens = std::min(budget, sequences[i].prompt_left);
    if (tokens > 0) plan.push_back({i, tokens});
    budget -= tokens;
  }
  return plan;
}

}  // namespace evenkeel::policy
