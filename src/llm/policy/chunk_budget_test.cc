#include "llm/policy/chunk_budget.h"

#include <gtest/gtest.h>

namespace evenkeel::policy {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST(ChunkBudgetTest, WithoutAnswersAPromptMayFillTheStep) {
  EXPECT_EQ(ChunkBudget(milliseconds(50)).Tokens(0), ChunkBudget::kMost);
}

TEST(ChunkBudgetTest, FitsWhatIsLeftOfTheObjective) {
  ChunkBudget budget(milliseconds(50));
  EXPECT_EQ(budget.Tokens(4), ChunkBudget::kUnknown);
  for (int i = 0; i < 200; ++i) {
    budget.Observe(4, 0, milliseconds(20));
    budget.Observe(4, 100, milliseconds(20) + 100 * microseconds(300));
  }
  EXPECT_NEAR(budget.Tokens(4), 100, 1);  // (50 - 20) ms at 0.3 ms a token
}

TEST(ChunkBudgetTest, PromptsDoNotStarveWhereAnswersAloneTakeTooLong) {
  ChunkBudget budget(milliseconds(10));
  for (int i = 0; i < 200; ++i) {
    budget.Observe(16, 0, milliseconds(60));
    budget.Observe(16, 50, milliseconds(60) + 50 * milliseconds(1));
  }
  EXPECT_NEAR(budget.Tokens(16), 30, 1);
}

ChunkBudget Slow(bool stated) {
  ChunkBudget budget(milliseconds(50), stated);
  for (int i = 0; i < 200; ++i) {
    budget.Observe(7, 0, milliseconds(40));
    budget.Observe(7, 20, milliseconds(40) + 20 * milliseconds(1));
  }
  return budget;
}

TEST(ChunkBudgetTest, AnObjectiveThatNobodyStatedGivesWayToABacklog) {
  const ChunkBudget budget = Slow(false);
  EXPECT_NEAR(budget.Tokens(7, 0), 20, 1);
  EXPECT_NEAR(budget.Tokens(7, 38), 20, 1);     // 304 a second: 17 a step of 57 ms are enough
  EXPECT_NEAR(budget.Tokens(7, 88), 95, 2);     // 704 a second: 95 in 135 ms
  EXPECT_NEAR(budget.Tokens(7, 4500), 160, 2);  // cannot be done; steps of 200 ms
  EXPECT_NEAR(Slow(true).Tokens(7, 4500), 20, 1);
}

TEST(ChunkBudgetTest, WhereAnswersAloneTakeLongPromptsOfABacklogHaveFourFifthsOfTheTime) {
  ChunkBudget budget(milliseconds(50), /*stated=*/false);
  budget.Seed(milliseconds(80), milliseconds(1));
  EXPECT_EQ(budget.Tokens(7, 4500), 320);  // steps of 400 ms
}

TEST(ChunkBudgetTest, ABacklogOfAnyLengthNeverMakesTheBudgetLess) {
  const ChunkBudget budget = Slow(false);
  for (int64_t backlog = 0, last = 0; backlog < 5000; backlog += 50) {
    EXPECT_GE(budget.Tokens(7, backlog), last);
    last = budget.Tokens(7, backlog);
  }
  EXPECT_EQ(budget.Tokens(0, 5000), ChunkBudget::kMost);
}

TEST(ChunkBudgetTest, StaysWithinItsBounds) {
  ChunkBudget slow(milliseconds(10));
  slow.Observe(0, 100, std::chrono::seconds(100));
  EXPECT_EQ(slow.Tokens(1), ChunkBudget::kLeast);
  ChunkBudget fast(std::chrono::seconds(10));
  fast.Observe(0, 100, microseconds(1));
  EXPECT_EQ(fast.Tokens(1), ChunkBudget::kMost);
}

}  // namespace
}  // namespace evenkeel::policy
