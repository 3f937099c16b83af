#include "profiling/policy/own_time.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace evenkeel {
namespace {

TEST(OwnTimeTest, WaitsAreCountedFromTheStintsBeginThreadByThread) {
  const ThreadWaits before = {{"1", 2.0}, {"2", 1.0}, {"ended", 5.0}};
  const ThreadWaits now = {{"1", 2.5}, {"2", 1.25}, {"new", 0.125}};
  const Waited waited = WaitedSince(before, now);
  EXPECT_DOUBLE_EQ(waited.sum_s, 0.875);
  EXPECT_DOUBLE_EQ(waited.longest_s, 0.5);
}

TEST(OwnTimeTest, WhereTheKernelDoesNotTellNothingWasWaitedFor) {
  const Waited waited = WaitedSince({}, {});
  EXPECT_EQ(waited.sum_s, 0);
  EXPECT_EQ(waited.longest_s, 0);
}

// A thread's number may be given out anew.
TEST(OwnTimeTest, ACountThatFellIsNoNegativeWait) {
  const Waited waited = WaitedSince(ThreadWaits{{"1", 2.0}}, ThreadWaits{{"1", 0.5}});
  EXPECT_EQ(waited.sum_s, 0);
}

TEST(OwnTimeTest, ABatchThatHadAFifthOfACoreTakesAFifthOfTheTime) {
  std::vector<double> runs = {7500, 7000, 8000};
  Scale(runs, OwnShare(22'500, 18'000));
  EXPECT_NEAR(runs[0], 1500, 1e-9);
  EXPECT_NEAR(runs[1], 1400, 1e-9);
  EXPECT_NEAR(runs[2], 1600, 1e-9);
}

RC_GTEST_PROP(OwnTimeProperty, TheRunsLoseWhatWasWaitedForAndNoMore, ()) {
  std::vector<double> runs;
  const int count = *rc::gen::inRange(1, 30);
  for (int i = 0; i < count; ++i) runs.push_back(*rc::gen::inRange(1, 100'000));
  const double before = std::accumulate(runs.begin(), runs.end(), 0.0);
  const double waited = *rc::gen::inRange(0, 2'000'000);
  Scale(runs, OwnShare(before, waited));
  const double after = std::accumulate(runs.begin(), runs.end(), 0.0);
  RC_ASSERT(after > 0);
  RC_ASSERT(after <= before * (1 + 1e-9));
  RC_ASSERT(std::abs(after - std::max(before - waited, kLeastOwn * before)) <= 1e-6 * before);
}

}  // namespace
}  // namespace evenkeel
