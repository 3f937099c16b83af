#include "cluster/policy/retry_budget.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

int TakeAll(RetryBudget& budget) {
  int taken = 0;
  while (budget.Take()) ++taken;
  return taken;
}

TEST(RetryBudgetTest, ATenthOfTheCallsIsRunAgain) {
  RetryBudget budget;
  EXPECT_EQ(TakeAll(budget), 100);
  EXPECT_EQ(budget.taken(), 100U);
  EXPECT_EQ(budget.refused(), 1U);
  // 0.1 is no sum of powers of two: eleven calls give one for certain.
  for (int i = 0; i < 11; ++i) budget.OnCall();
  EXPECT_EQ(TakeAll(budget), 1);
  int taken = 0;
  for (int i = 0; i < 10'000; ++i) {
    budget.OnCall();
    taken += budget.Take() ? 1 : 0;
  }
  EXPECT_NEAR(taken, 1000, 2);
  EXPECT_EQ(budget.taken(), 101U + static_cast<uint64_t>(taken));
}

TEST(RetryBudgetTest, QuietTimesSaveUpNoMoreThanTheReserve) {
  RetryBudget budget;
  for (int i = 0; i < 100'000; ++i) budget.OnCall();
  EXPECT_EQ(TakeAll(budget), 100);
}

}  // namespace
}  // namespace evenkeel
