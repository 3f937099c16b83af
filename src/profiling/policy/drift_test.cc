#include "profiling/policy/drift.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart = Time{} + 1h;

// A model that runs `a_second` batches of each size, `factor` times as slow as its table says.
class DriftTest : public ::testing::Test {
 protected:
  DriftTest() { detector_.Expect(table_); }

  // Feeds `seconds` looks; true if one of them told of drift.
  bool Live(int seconds, double factor, uint64_t a_second = 10, bool shared = false) {
    for (int i = 0; i < seconds; ++i) {
      now_ += 1s;
      std::vector<LiveSize> live;
      for (const TimedSize& size : table_) {
        batches_[size.rows] += a_second;
        live.push_back(
            {size.rows,
             Duration(static_cast<int64_t>(factor * static_cast<double>(size.mean.count()))),
             batches_[size.rows]});
      }
      if (detector_.Observe(live, shared, now_)) return true;
    }
    return false;
  }

  std::vector<TimedSize> table_ = {{1, 1ms, 1100us}, {4, 2ms, 2200us}, {16, 6ms, 6500us}};
  std::map<int, uint64_t> batches_;
  Time now_ = kStart;
  DriftDetector detector_;
};

TEST_F(DriftTest, TimesWithinToleranceNeverDrift) {
  EXPECT_FALSE(Live(300, 1.2));
  EXPECT_FALSE(Live(300, 0.85));
  EXPECT_NEAR(detector_.ratio(), 0.85, 0.01);
}

TEST_F(DriftTest, SlowerForAMinuteIsDrift) {
  EXPECT_FALSE(Live(61, 1.5));
  EXPECT_TRUE(Live(2, 1.5));
}

TEST_F(DriftTest, FasterForAMinuteIsDriftToo) {
  EXPECT_FALSE(Live(61, 0.6));
  EXPECT_TRUE(Live(2, 0.6));
}

TEST_F(DriftTest, ALookInsideStartsAnew) {
  EXPECT_FALSE(Live(50, 1.5));
  EXPECT_FALSE(Live(1, 1.0));
  EXPECT_FALSE(Live(50, 1.5));
  EXPECT_TRUE(Live(15, 1.5));
}

TEST_F(DriftTest, TheOtherSideStartsAnew) {
  EXPECT_FALSE(Live(50, 1.5));
  EXPECT_FALSE(Live(50, 0.6));
  EXPECT_TRUE(Live(15, 0.6));
}

TEST_F(DriftTest, FewBatchesAreNoEvidence) {
  // A batch in ten seconds: a minute of it is six batches a size.
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(Live(1, 2.0, 1));
    EXPECT_FALSE(Live(9, 2.0, 0));
  }
  EXPECT_TRUE(Live(100, 2.0, 1));
}

TEST_F(DriftTest, SecondsWithoutBatchesNeitherCountNorReset) {
  EXPECT_FALSE(Live(30, 1.5));
  EXPECT_FALSE(Live(20, 1.5, 0));
  EXPECT_FALSE(Live(10, 1.5));
  EXPECT_TRUE(Live(5, 1.5));
}

TEST_F(DriftTest, SharedCoresSayNothing) {
  EXPECT_FALSE(Live(200, 2.0, 10, /*shared=*/true));
  EXPECT_EQ(detector_.away_for(now_), Duration::zero());
}

TEST_F(DriftTest, ANoisyTableNeedsMore) {
  table_ = {{1, 1ms, 2ms}};  // p99 twice the mean
  detector_.Expect(table_);
  EXPECT_FALSE(Live(200, 1.4));
  EXPECT_TRUE(Live(70, 1.6));
}

TEST_F(DriftTest, SizesThatTheTableDoesNotHaveAreIgnored) {
  std::vector<LiveSize> live = {{3, 100ms, 0}};
  for (int i = 0; i < 200; ++i) {
    live[0].batches += 100;
    EXPECT_FALSE(detector_.Observe(live, false, now_ += 1s));
  }
}

TEST_F(DriftTest, ObservesAnewAfterItTold) {
  EXPECT_TRUE(Live(70, 1.5));
  EXPECT_FALSE(Live(55, 1.5));
  EXPECT_TRUE(Live(10, 1.5));
}

TEST_F(DriftTest, MicrosecondsOfTheWayAreNoDrift) {
  table_ = {{1, 150us, 160us}};
  detector_.Expect(table_);
  EXPECT_FALSE(Live(200, 0.5));
  EXPECT_TRUE(Live(70, 2.0));
}

TEST_F(DriftTest, AQuotaThatDoesNotBindIsNoDrift) {
  detector_.Expect(table_, /*quota=*/true);
  EXPECT_FALSE(Live(200, 0.5));
  EXPECT_TRUE(Live(70, 1.5));
}

}  // namespace
}  // namespace evenkeel
