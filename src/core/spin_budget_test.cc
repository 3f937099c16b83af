#include "core/spin_budget.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

const Time kStart{1s};

int SleepsInARow(SpinBudget& budget, Time now) {
  int sleeps = 0;
  while (budget.Next(now) == Duration::zero()) ++sleeps;
  return sleeps;
}

TEST(SpinBudget, NeverLooksWhereItMayNot) {
  SpinBudget budget(false);
  EXPECT_EQ(budget.Next(kStart), Duration::zero());
}

TEST(SpinBudget, LooksAsLongAsItPays) {
  SpinBudget budget(true);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(budget.Next(kStart), SpinBudget::kLook);
    budget.Came(50us);
  }
}

TEST(SpinBudget, EachMissDoublesTheSleepsUpTo64) {
  SpinBudget budget(true);
  for (const int expected : {2, 4, 8, 16, 32, 64, 64}) {
    budget.Missed();
    EXPECT_EQ(SleepsInARow(budget, kStart), expected);
  }
}

TEST(SpinBudget, AShortSleepBringsItBack) {
  SpinBudget budget(true);
  for (int i = 0; i < 6; ++i) budget.Missed();
  ASSERT_EQ(budget.Next(kStart), Duration::zero());
  budget.Came(SpinBudget::kShort + 1us);
  EXPECT_EQ(budget.Next(kStart), Duration::zero());
  budget.Came(SpinBudget::kShort);
  EXPECT_EQ(budget.Next(kStart), SpinBudget::kLook);
}

TEST(SpinBudget, GivesWayWhereTheCoreIsWanted) {
  SpinBudget budget(true);
  budget.Disturbed(kStart);
  EXPECT_EQ(budget.Next(kStart + 99ms), Duration::zero());
  EXPECT_EQ(budget.Next(kStart + 100ms), SpinBudget::kLook);
  budget.Disturbed(kStart);
  EXPECT_EQ(budget.Next(kStart + 199ms), Duration::zero());
  for (int i = 0; i < 20; ++i) budget.Disturbed(kStart);
  EXPECT_EQ(budget.Next(kStart + 9999ms), Duration::zero());
  EXPECT_EQ(budget.Next(kStart + 10s), SpinBudget::kLook);
}

TEST(SpinBudget, ForgetsADisturbanceInTime) {
  SpinBudget budget(true);
  for (int i = 0; i < 20; ++i) budget.Disturbed(kStart);
  for (int i = 0; i < 200; ++i) budget.Undisturbed();
  budget.Disturbed(kStart);
  EXPECT_EQ(budget.Next(kStart + 100ms), SpinBudget::kLook);
}

}  // namespace
}  // namespace evenkeel
