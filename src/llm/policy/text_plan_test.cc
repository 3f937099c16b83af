#include "llm/policy/text_plan.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <set>

namespace evenkeel::policy {
namespace {

using std::chrono::milliseconds;
using Shares = std::vector<StepShare>;

TextLimits RandomLimits(bool whole) {
  TextLimits limits;
  limits.tokens = *rc::gen::inRange(1, 600);
  limits.texts = *rc::gen::inRange(1, 20);
  limits.cells = *rc::gen::inRange(1, 2000);
  limits.whole = whole;
  return limits;
}

TEST(TextPlanTest, KeepsItsLimits) {
  EXPECT_TRUE(rc::check([] {
    const bool whole = *rc::gen::arbitrary<bool>();
    const TextLimits limits = RandomLimits(whole);
    std::vector<TextWork> texts(static_cast<size_t>(*rc::gen::inRange(0, 40)));
    for (TextWork& text : texts) text.length = *rc::gen::inRange(1, limits.cells + 10);
    const Shares plan = PlanTexts(texts, limits);
    std::set<size_t> seen;
    int tokens = 0;
    int cells = 0;
    for (const StepShare& share : plan) {
      RC_ASSERT(seen.insert(share.sequence).second);
      RC_ASSERT(share.tokens >= 1 && share.tokens <= texts[share.sequence].length);
      RC_ASSERT(!whole || share.tokens == texts[share.sequence].length);
      tokens += share.tokens;
      cells += texts[share.sequence].length;
    }
    RC_ASSERT(static_cast<int>(plan.size()) <= limits.texts);
    RC_ASSERT(whole || cells <= limits.cells);
    RC_ASSERT(tokens <= limits.tokens || (whole && plan.size() == 1));
    // The oldest is in every step, or nothing can be begun.
    const bool first_fits = !texts.empty() && texts[0].length <= limits.cells;
    RC_ASSERT(plan.empty() != first_fits);
    RC_ASSERT(plan.empty() || seen.contains(0));
  }));
}

// Step after step, as the loop does it: each text comes to its end, and what is begun always fits.
TEST(TextPlanTest, EveryTextIsComputed) {
  EXPECT_TRUE(rc::check([] {
    const bool whole = *rc::gen::arbitrary<bool>();
    TextLimits limits = RandomLimits(whole);
    std::vector<TextWork> texts(static_cast<size_t>(*rc::gen::inRange(1, 30)));
    int total = 0;
    for (TextWork& text : texts) {
      text.length = *rc::gen::inRange(1, limits.cells + 1);
      total += text.length;
    }
    int steps = 0;
    while (!texts.empty()) {
      const Shares plan = PlanTexts(texts, limits);
      RC_ASSERT(!plan.empty());
      int cells = 0;
      for (const StepShare& share : plan) texts[share.sequence].computed += share.tokens;
      for (const TextWork& text : texts) cells += text.computed > 0 ? text.length : 0;
      RC_ASSERT(whole || cells <= limits.cells);
      std::erase_if(texts, [](const TextWork& text) { return text.computed == text.length; });
      RC_ASSERT(++steps <= total);
    }
  }));
}

TEST(TextPlanTest, ShortTextsPassALongOneThatIsBegun) {
  const std::vector<TextWork> texts = {{1000, 100, 8, 8}, {10, 0, 8, 1.1}, {20, 0, 8, 1.2}};
  EXPECT_EQ(PlanTexts(texts, {100, 8, 2000, false}), (Shares{{1, 10}, {2, 20}, {0, 70}}));
  const std::vector<TextWork> first = {{1000, 100, 1, 8}, {10, 0, 8, 1.1}};
  EXPECT_EQ(PlanTexts(first, {100, 8, 2000, false}), (Shares{{0, 100}}));
}

TEST(TextPlanTest, ALongTextThatWaitsForCellsIsNotPassedForEver) {
  const std::vector<TextWork> texts = {{50, 20}, {100, 0}, {10, 0}};
  EXPECT_EQ(PlanTexts(texts, {100, 8, 120, false}), (Shares{{0, 30}}));
  EXPECT_TRUE(PlanTexts(std::vector<TextWork>{{130, 0}, {10, 0}}, {100, 8, 120, false}).empty());
}

TEST(TextPlanTest, WholeTextsFillAStepAndTheOldestGoesAlways) {
  const std::vector<TextWork> texts = {{60, 0}, {50, 0}, {30, 0}, {10, 0}, {5, 0}};
  EXPECT_EQ(PlanTexts(texts, {100, 8, 512, true}), (Shares{{0, 60}, {2, 30}, {3, 10}}));
  EXPECT_EQ(PlanTexts(texts, {20, 8, 512, true}), (Shares{{0, 60}}));
  EXPECT_EQ(PlanTexts(texts, {100, 2, 512, true}), (Shares{{0, 60}, {2, 30}}));
}

TEST(TextPlanTest, AnswersLeaveTextsTheRestOfTheirObjective) {
  const Duration objective = milliseconds(50);
  EXPECT_EQ(TextTokens(objective, {}, 0.001, 512), 512);  // nobody answers
  EXPECT_EQ(TextTokens(objective, milliseconds(10), 0.001, 512), 40);
  EXPECT_EQ(TextTokens(objective, milliseconds(10), 0, 512), 32);         // not measured
  EXPECT_EQ(TextTokens(objective, milliseconds(80), 0.001, 512), 20);     // a quarter of the step
  EXPECT_EQ(TextTokens(objective, milliseconds(49), 0.1, 512), 16);       // but it goes on
  EXPECT_EQ(TextTokens(objective, milliseconds(10), 0.00001, 512), 512);  // at most a step
}

}  // namespace
}  // namespace evenkeel::policy
