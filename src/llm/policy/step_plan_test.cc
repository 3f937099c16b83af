#include "llm/policy/step_plan.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace evenkeel::policy {
namespace {

std::map<size_t, int> ByIndex(const std::vector<StepShare>& plan) {
  std::map<size_t, int> shares;
  for (const StepShare& share : plan) shares[share.sequence] += share.tokens;
  return shares;
}

std::vector<StepSequence> RandomSequences() {
  std::vector<StepSequence> sequences;
  const int count = *rc::gen::inRange(0, 40);
  for (int i = 0; i < count; ++i) {
    const bool answers = *rc::gen::arbitrary<bool>();
    sequences.push_back({answers, answers ? 0 : *rc::gen::inRange(1, 3000)});
  }
  return sequences;
}

StepLimits RandomLimits(size_t sequences) {
  StepLimits limits;
  limits.batch = *rc::gen::inRange(static_cast<int>(sequences) + 1, 600);
  limits.prompt_budget = *rc::gen::inRange(1, 600);
  return limits;
}

TEST(StepPlanTest, KeepsItsLimitsAndHoldsUpNobodyWhoAnswers) {
  EXPECT_TRUE(rc::check([] {
    const auto sequences = RandomSequences();
    const StepLimits limits = RandomLimits(sequences.size());
    const auto plan = PlanStep(sequences, limits);
    const auto shares = ByIndex(plan);
    RC_ASSERT(shares.size() == plan.size());
    int answers = 0;
    int prompts = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const int share = shares.contains(i) ? shares.at(i) : 0;
      if (sequences[i].answers) {
        RC_ASSERT(share == 1);
        ++answers;
      } else {
        RC_ASSERT(share >= 0 && share <= sequences[i].prompt_left);
        prompts += share;
      }
    }
    RC_ASSERT(prompts <= limits.prompt_budget);
    RC_ASSERT(answers + prompts <= limits.batch);
    // Nothing is left lying: either the budget is used or every prompt is complete.
    const int room = std::min(limits.prompt_budget, limits.batch - answers);
    const int wanted = std::accumulate(sequences.begin(), sequences.end(), 0,
                                       [](int sum, const auto& s) { return sum + s.prompt_left; });
    RC_ASSERT(prompts == std::min(room, wanted));
  }));
}

TEST(StepPlanTest, TheOldestPromptAlwaysGetsHalfOfWhatPromptsGet) {
  EXPECT_TRUE(rc::check([] {
    const auto sequences = RandomSequences();
    const StepLimits limits = RandomLimits(sequences.size());
    const auto shares = ByIndex(PlanStep(sequences, limits));
    const auto oldest = std::ranges::find_if(sequences, [](const auto& s) { return !s.answers; });
    if (oldest == sequences.end()) return;
    const int share = shares.at(static_cast<size_t>(oldest - sequences.begin()));
    int prompts = 0;
    for (const auto& [i, tokens] : shares) prompts += sequences[i].answers ? 0 : tokens;
    RC_ASSERT(share == oldest->prompt_left || 2 * share >= prompts);
  }));
}

TEST(StepPlanTest, AShortPromptOvertakesALongOneWithoutStoppingIt) {
  const std::vector<StepSequence> sequences = {{false, 2000}, {false, 3000}, {false, 40}};
  const auto plan = PlanStep(sequences, {512, 256});
  EXPECT_EQ(plan, (std::vector<StepShare>{{0, 128}, {1, 88}, {2, 40}}));
}

TEST(StepPlanTest, PromptsWaitWhereTheBatchIsFullOfAnswers) {
  const std::vector<StepSequence> sequences = {{true, 0}, {true, 0}, {false, 9}};
  EXPECT_EQ(PlanStep(sequences, {2, 512}), (std::vector<StepShare>{{0, 1}, {1, 1}}));
}

}  // namespace
}  // namespace evenkeel::policy
