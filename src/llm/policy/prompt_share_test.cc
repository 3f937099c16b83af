#include "llm/policy/prompt_share.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <utility>

#include "llm/policy/chunk_budget.h"

namespace evenkeel::policy {
namespace {

TEST(PromptShareTest, StaysWithinItsBoundsAndGoesTheRightWay) {
  EXPECT_TRUE(rc::check([] {
    PromptShare share;
    const int looks = *rc::gen::inRange(1, 50);
    for (int i = 0; i < looks; ++i) {
      const double before = share.share();
      const double first = *rc::gen::inRange(1, 400) / 100.0,
                   inter = *rc::gen::inRange(1, 400) / 100.0;
      share.Observe(first, inter);
      RC_ASSERT(share.share() >= PromptShare::kLeast && share.share() <= PromptShare::kMost);
      if (first > 1 && inter <= 1) {
        RC_ASSERT(share.share() >= before);
      }
      if (inter > 1 && first <= 1) {
        RC_ASSERT(share.share() <= before);
      }
      if (inter <= 1 && first <= 1) {
        RC_ASSERT(std::abs(std::log(share.share())) <= std::abs(std::log(before)));
      }
      share.Observe(std::nullopt, std::nullopt);
    }
  }));
}

TEST(PromptShareTest, NothingSeenChangesNothing) {
  PromptShare share;
  share.Observe(3, std::nullopt);
  const double before = share.share();
  EXPECT_GT(before, 1);
  share.Observe(std::nullopt, std::nullopt);
  EXPECT_EQ(share.share(), before);
}

// First tokens take a / s, tokens b s: with both objectives in reach the loop comes to a share that keeps them, and stays there.
TEST(PromptShareTest, FindsAShareThatKeepsBothObjectives) {
  for (const auto& [a, b] : {std::pair{2.0, 0.4}, {0.3, 2.5}, {1.5, 0.5}, {0.9, 0.9}}) {
    PromptShare share;
    double late = 0;
    for (int i = 0; i < 400; ++i) {
      const double first = a / share.share(), inter = b * share.share();
      share.Observe(first, inter);
      if (i >= 200) late = std::max({late, first, inter});
    }
    EXPECT_LT(late, 1.25) << a << " " << b;
  }
}

TEST(PromptShareTest, TheBudgetFollowsTheShareWithinItsBounds) {
  using std::chrono::milliseconds;
  ChunkBudget budget(milliseconds(50));
  budget.Seed(milliseconds(20), std::chrono::microseconds(300));
  EXPECT_NEAR(budget.Tokens(4), 100, 1);  // (50 - 20) ms at 0.3 ms a token
  budget.SetShare(2);
  EXPECT_NEAR(budget.Tokens(4), 200, 1);
  budget.SetShare(0.25);
  EXPECT_NEAR(budget.Tokens(4), 25, 1);
  budget.SetShare(100);
  EXPECT_EQ(budget.Tokens(4), ChunkBudget::kMost);
  // What was measured stays.
  budget.SetShare(1);
  budget.Seed(milliseconds(1), milliseconds(10));
  EXPECT_NEAR(budget.Tokens(4), 100, 1);
}

}  // namespace
}  // namespace evenkeel::policy
