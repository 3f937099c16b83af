#include "llm/policy/state_time.h"

#include <gtest/gtest.h>

#include <random>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

TEST(StateTimeTest, IsHalfAStepAndHasAnEnd) {
  EXPECT_EQ(StateTime(Duration::zero()), Duration::zero());
  EXPECT_EQ(StateTime(-1ms), Duration::zero()) << "a clock that went wrong";
  EXPECT_EQ(StateTime(20ms), 10ms);
  EXPECT_EQ(StateTime(2 * kMostStateTime), kMostStateTime);
  EXPECT_EQ(StateTime(1h), kMostStateTime);
}

TEST(StateTimeTest, TokensNeverComeAtLessThanTwoThirdsOfTheirPace) {
  std::mt19937_64 random(1);
  std::uniform_int_distribution<int64_t> steps(0, 10'000'000'000);
  Duration before{}, shorter{};
  for (int i = 0; i < 10'000; ++i) {
    const Duration step(steps(random));
    const Duration time = StateTime(step);
    EXPECT_LE(step + time, step + step / 2);
    EXPECT_LE(time, kMostStateTime);
    // A longer step never leaves less time.
    EXPECT_EQ(step >= before ? time >= shorter : time <= shorter, true);
    before = step;
    shorter = time;
  }
}

}  // namespace
}  // namespace evenkeel
