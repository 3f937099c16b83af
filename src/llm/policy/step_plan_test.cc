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
    sequences.push_back({answers, answers ? 0 : *rc::gen::inRange(1, 3000), *rc::gen::inRange(1, 4),
                         *rc::gen::inRange(0, 20) * 0.5});
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

TEST(StepPlanTest, NothingGoesToAPromptWhileOneThatIsBeforeItWants) {
  EXPECT_TRUE(rc::check([] {
    const auto sequences = RandomSequences();
    const auto shares = ByIndex(PlanStep(sequences, RandomLimits(sequences.size())));
    const auto given = [&](size_t i) { return shares.contains(i) ? shares.at(i) : 0; };
    for (size_t i = 0; i < sequences.size(); ++i) {
      for (size_t j = 0; j < sequences.size(); ++j) {
        const StepSequence &one = sequences[i], &other = sequences[j];
        if (one.answers || other.answers || given(i) == one.prompt_left) continue;
        const bool before = one.priority != other.priority ? one.priority < other.priority
                            : one.due != other.due         ? one.due < other.due
                                                           : i < j;
        RC_ASSERT(!before || given(j) == 0);
      }
    }
  }));
}

TEST(StepPlanTest, AShortPromptPassesALongOneUntilThatIsDue) {
  constexpr double kCost = 0.001;
  const double long_due = DueOf(0, 2000, kCost);  // 16 s
  const auto plan = [&](double now) {
    return PlanStep(std::vector<StepSequence>{{.prompt_left = 2000, .due = long_due},
                                              {.prompt_left = 40, .due = DueOf(now, 40, kCost)}},
                    {512, 256});
  };
  EXPECT_EQ(plan(1), (std::vector<StepShare>{{1, 40}, {0, 216}}));
  EXPECT_EQ(plan(16), (std::vector<StepShare>{{0, 256}}));
}

// Short prompts come as fast as they are computed, for ever: the long one ends all the same.
TEST(StepPlanTest, ALongPromptEndsWhateverComes) {
  constexpr double kCost = 0.001;
  StepSequence slow{.prompt_left = 1000, .due = DueOf(0, 1000, kCost)};
  double now = 0;
  std::vector<StepSequence> sequences = {slow};
  while (sequences.front().prompt_left > 0 && now < 60) {
    sequences.push_back({.prompt_left = 100, .due = DueOf(now, 100, kCost)});
    for (const StepShare& share : PlanStep(sequences, {512, 100}))
      sequences[share.sequence].prompt_left -= share.tokens;
    std::erase_if(sequences,
                  [&](const auto& s) { return &s != sequences.data() && s.prompt_left == 0; });
    now += 0.1;
  }
  EXPECT_EQ(sequences.front().prompt_left, 0);
  EXPECT_LT(now, 10);  // due after 8, and 1 of its own
}

TEST(StepPlanTest, AnEarlierPriorityGoesFirstWhateverIsDue) {
  const std::vector<StepSequence> sequences = {{.prompt_left = 90, .priority = 9, .due = 1},
                                               {.prompt_left = 90, .priority = 1, .due = 5}};
  EXPECT_EQ(PlanStep(sequences, {512, 100}), (std::vector<StepShare>{{1, 90}, {0, 10}}));
}

TEST(StepPlanTest, PromptsWaitWhereTheBatchIsFullOfAnswers) {
  const std::vector<StepSequence> sequences = {{true, 0}, {true, 0}, {false, 9}};
  EXPECT_EQ(PlanStep(sequences, {2, 512}), (std::vector<StepShare>{{0, 1}, {1, 1}}));
}

}  // namespace
}  // namespace evenkeel::policy
