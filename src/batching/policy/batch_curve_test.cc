#include "batching/policy/batch_curve.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <map>
#include <random>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

TEST(BatchCurveTest, KnowsNothingAtFirst) {
  const BatchCurve curve;
  EXPECT_TRUE(curve.empty());
  EXPECT_EQ(curve.Mean(4), 0ns);
  EXPECT_EQ(curve.P99(4), 0ns);
}

TEST(BatchCurveTest, DrawsALineBetweenKnownSizesAndScalesBeyondThem) {
  BatchCurve curve;
  curve.Set(2, 100us, 120us);
  curve.Set(6, 200us, 260us);
  EXPECT_EQ(curve.Mean(1), 100us);  // no batch costs more than a larger one
  EXPECT_EQ(curve.Mean(4), 150us);
  EXPECT_EQ(curve.P99(4), 190us);
  EXPECT_EQ(curve.Mean(12), 400us);
  EXPECT_EQ(curve.P99(6), 260us);
}

TEST(BatchCurveTest, OverheadIsPartOfEveryBatchButOfNoPoint) {
  BatchCurve curve;
  curve.SetOverhead(50us);
  EXPECT_EQ(curve.Mean(1), 0ns);  // nothing is known still
  curve.Set(2, 1ms, 2ms);
  EXPECT_EQ(curve.Mean(1), 1050us);
  EXPECT_EQ(curve.P99(2), 2050us);
  EXPECT_EQ(curve.Mean(4), 2050us);
  EXPECT_EQ(curve.points().front().mean_ns, 1e6F);
}

TEST(BatchCurveTest, IgnoresDurationsThatCannotBe) {
  BatchCurve curve;
  curve.Record(3, 0ns);
  curve.Record(3, -5ns);
  EXPECT_TRUE(curve.empty());
}

TEST(BatchCurveTest, FollowsATimeThatChanged) {
  BatchCurve curve;
  for (int i = 0; i < 100; ++i) curve.Record(4, 1ms);
  for (int i = 0; i < 100; ++i) curve.Record(4, 3ms);
  EXPECT_NEAR(Seconds(curve.Mean(4)), 3e-3, 3e-5);
  EXPECT_GE(curve.P99(4), 3ms - 1us);
}

TEST(BatchCurveTest, TracksTheNinetyNinthPercentile) {
  BatchCurve curve;
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> scatter(0, 0.3);
  for (int i = 0; i < 20'000; ++i) curve.Record(8, Duration(std::lround(1e6 * scatter(random))));
  const double truth = std::exp(0.3 * 2.3263);
  EXPECT_NEAR(Seconds(curve.P99(8)) * 1e3, truth, 0.15 * truth);
}

TEST(BatchCurveTest, KeepsTheSizesRecordedLatelyAndBothEnds) {
  BatchCurve curve;
  for (int rows = 1; rows <= 200; ++rows) curve.Record(rows, rows * 1us);
  EXPECT_EQ(curve.points().size(), static_cast<size_t>(BatchCurve::kMaxSizes));
  EXPECT_EQ(curve.points().front().rows, 1);
  EXPECT_EQ(curve.points().back().rows, 200);
  EXPECT_EQ(curve.Mean(199), 199us);
}

// A plain reference: every size that was recorded, without the bound.
RC_GTEST_PROP(BatchCurveProperty, AnswersLikeAMapOfMeansAndALine, ()) {
  const auto records = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::pair<int, int>>>(
      rc::gen::pair(rc::gen::inRange(1, 40), rc::gen::inRange(1, 1'000'000))));
  BatchCurve curve;
  std::map<int, std::pair<double, int>> means;
  for (const auto& [rows, us] : records) {
    curve.Record(rows, us * 1us);
    auto& [mean, count] = means[rows];
    ++count;
    mean += (us * 1e3 - mean) / std::min(count, 16);
  }
  const int rows = *rc::gen::inRange(1, 100);
  double expected = 0;
  const auto above = means.lower_bound(rows);
  if (above == means.end()) {
    expected = std::prev(above)->second.first * rows / std::prev(above)->first;
  } else if (above == means.begin() || above->first == rows) {
    expected = above->second.first;
  } else {
    const auto below = std::prev(above);
    expected = below->second.first + (above->second.first - below->second.first) *
                                         (rows - below->first) / (above->first - below->first);
  }
  RC_ASSERT(std::abs(static_cast<double>(curve.Mean(rows).count()) - expected) <=
            1e-4 * expected + 2);
  RC_ASSERT(curve.P99(rows) + 2ns >= curve.Mean(rows));
}

}  // namespace
}  // namespace evenkeel::policy
