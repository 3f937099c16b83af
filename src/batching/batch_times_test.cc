#include "batching/batch_times.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using std::chrono::milliseconds;

double Ms(Duration time) { return static_cast<double>(time.count()) / 1e6; }

BatchTimes Known() {
  BatchTimes times;
  times.Set(1, milliseconds(4));
  times.Set(32, milliseconds(40));
  return times;
}

TEST(BatchTimesTest, BetweenAndOutsideTheMeasuredSizes) {
  BatchTimes times;
  EXPECT_EQ(times.Estimate(3), Duration());
  EXPECT_EQ(times.AsOfLate(3), Duration());
  times.Set(2, milliseconds(10));
  times.Set(4, milliseconds(20));
  EXPECT_EQ(times.Estimate(1), milliseconds(10));
  EXPECT_EQ(times.Estimate(3), milliseconds(15));
  EXPECT_EQ(times.Estimate(8), milliseconds(40));
}

// A quota is cut: what runs shows it, and so must what does not.
TEST(BatchTimesTest, ASlowerHostIsSlowerInAllSizes) {
  BatchTimes times = Known();
  for (int i = 0; i < 100; ++i) times.Record(1, milliseconds(20));
  EXPECT_NEAR(Ms(times.Estimate(32)), 40, 1);
  EXPECT_NEAR(Ms(times.AsOfLate(1)), 20, 0.5);
  EXPECT_NEAR(Ms(times.AsOfLate(32)), 200, 5);
  EXPECT_NEAR(Ms(times.AsOfLate(16)), 5 * Ms(Known().Estimate(16)), 5);
  // What runs itself is known by itself.
  for (int i = 0; i < 40; ++i) times.Record(32, milliseconds(80));
  EXPECT_NEAR(Ms(times.AsOfLate(32)), 80, 2);
  // And back again.
  for (int i = 0; i < 100; ++i) times.Record(1, milliseconds(4));
  EXPECT_NEAR(Ms(times.AsOfLate(32)), 40, 2);
}

TEST(BatchTimesTest, ASizeThatIsSeenLaterKeepsItsPlaceAmongTheOthers) {
  BatchTimes times = Known();
  for (int i = 0; i < 100; ++i) times.Record(1, milliseconds(8));
  for (int i = 0; i < 10; ++i) times.Record(8, milliseconds(24));  // twice what it would have been
  for (int i = 0; i < 100; ++i) times.Record(1, milliseconds(4));
  EXPECT_NEAR(Ms(times.AsOfLate(8)), 12, 1);
}

}  // namespace
}  // namespace evenkeel
