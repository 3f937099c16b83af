#include "core/log_pace.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

TEST(LogPaceTest, ALineInEachTimeAndTheOthersAreCounted) {
  LogPace pace(std::chrono::seconds(10));
  Time now{std::chrono::hours(1)};
  EXPECT_EQ(pace.Take(now), 0U);
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(pace.Take(now + std::chrono::seconds(i)));
  now += std::chrono::seconds(10);
  EXPECT_EQ(pace.Take(now), 7U);
  EXPECT_FALSE(pace.Take(now));
  EXPECT_EQ(pace.Take(now + std::chrono::seconds(30)), 1U);
}

}  // namespace
}  // namespace evenkeel
