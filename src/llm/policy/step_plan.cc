#include "llm/policy/step_plan.h"

#include <algorithm>

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
  int budget = std::min(limits.prompt_budget, limits.batch - static_cast<int>(plan.size()));
  if (prompts.empty() || budget <= 0) return plan;

  std::vector<int> given(sequences.size(), 0);
  const auto give = [&](size_t i, int most) {
    const int tokens = std::min({most, budget, sequences[i].prompt_left - given[i]});
    given[i] += tokens;
    budget -= tokens;
  };
  const size_t oldest = prompts.front();
  give(oldest, (budget + 1) / 2);
  std::vector<size_t> shortest(prompts.begin() + 1, prompts.end());
  std::ranges::stable_sort(shortest, {}, [&](size_t i) { return sequences[i].prompt_left; });
  for (const size_t i : shortest) give(i, budget);
  give(oldest, budget);
  for (const size_t i : prompts) {
    if (given[i] > 0) plan.push_back({i, given[i]});
  }
  return plan;
}

}  // namespace evenkeel::policy
