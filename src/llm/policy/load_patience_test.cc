#include "llm/policy/load_patience.h"

#include <gtest/gtest.h>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

class LoadPatienceTest : public testing::Test {
 protected:
  // So many attempts that fail, `pause` apart.
  void Fail(int attempts, Duration pause) {
    for (int i = 0; i < attempts; ++i) {
      now_ += pause;
      patience_.OnFailed();
      patience_.Look(now_);
    }
  }
  LoadPatience patience_;
  Time now_{100s};
};

TEST_F(LoadPatienceTest, NothingIsSaidOfWhatNeverServed) {
  Fail(100, 10s);
  EXPECT_FALSE(patience_.hopeless());
  EXPECT_EQ(patience_.due(), kNever);
}

TEST_F(LoadPatienceTest, AttemptsThatFailAtOnceAreNotEnough) {
  patience_.OnLoaded(1s);
  patience_.OnEnded(now_);
  Fail(20, 100ms);
  EXPECT_FALSE(patience_.hopeless());
  Fail(1, 8s);
  EXPECT_TRUE(patience_.hopeless());
}

TEST_F(LoadPatienceTest, NorIsTimeWithFewAttemptsButForAMinute) {
  patience_.OnLoaded(1s);
  patience_.OnEnded(now_);
  Fail(2, 20s);
  EXPECT_FALSE(patience_.hopeless());
  EXPECT_EQ(patience_.due(), Time(160s));
  EXPECT_FALSE(patience_.Look(Time(159s)));
  EXPECT_TRUE(patience_.Look(Time(160s)));
  EXPECT_FALSE(patience_.Look(Time(161s))) << "it is told once";
  EXPECT_TRUE(patience_.hopeless());
}

TEST_F(LoadPatienceTest, WhatTakesLongToLoadIsGivenItsTime) {
  patience_.OnLoaded(50s);
  patience_.OnEnded(now_);
  EXPECT_FALSE(patience_.Look(now_ + 149s));
  EXPECT_TRUE(patience_.Look(now_ + 150s));
}

TEST_F(LoadPatienceTest, ItIsHopefulAgainOnceItHasLoaded) {
  patience_.OnLoaded(1s);
  patience_.OnEnded(now_);
  patience_.OnEnded(now_ + 5s);  // the first end counts
  Fail(6, 2s);
  EXPECT_TRUE(patience_.hopeless());
  patience_.OnLoaded(1s);
  EXPECT_FALSE(patience_.hopeless());
  patience_.OnEnded(now_);
  Fail(1, 1s);
  EXPECT_FALSE(patience_.hopeless());
}

}  // namespace
}  // namespace evenkeel::policy
