#include "profiling/policy/select_precision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace evenkeel {
namespace {

LoadRow Row(Precision precision, int batch, double batch_us, double difference = -1) {
  LoadRow row;
  row.cell = Cell{{1000, 1 << 29, 0, 0}, batch, precision};
  row.batch_us = batch_us;
  row.diff_max = row.diff_mean = difference;
  return row;
}

LoadRows Rows(double difference, double bf16_us = 30) {
  return {Row(Precision::kF32, 1, 100), Row(Precision::kF32, 2, 150),
          Row(Precision::kBf16, 1, bf16_us, difference),
          Row(Precision::kBf16, 2, bf16_us, difference)};
}

TEST(SelectPrecisionTest, NothingButTheManifestAllowsBf16) {
  EXPECT_EQ(SelectPrecision(Rows(0), PrecisionRule::kF32, 1, true).precision, Precision::kF32);
  EXPECT_EQ(SelectPrecision(Rows(9), PrecisionRule::kBf16, 0, true).precision, Precision::kBf16);
}

TEST(SelectPrecisionTest, AutoTakesBf16WithinTheToleranceOnly) {
  EXPECT_EQ(SelectPrecision(Rows(0.01), PrecisionRule::kAuto, 0.01, true).precision,
            Precision::kBf16);
  const PrecisionChoice far = SelectPrecision(Rows(0.0101), PrecisionRule::kAuto, 0.01, true);
  EXPECT_EQ(far.precision, Precision::kF32);
  EXPECT_THAT(far.why, testing::HasSubstr("differ by 0.0101"));
  const double infinite = std::numeric_limits<double>::infinity();
  EXPECT_EQ(SelectPrecision(Rows(infinite), PrecisionRule::kAuto, 1e9, true).precision,
            Precision::kF32);
}

TEST(SelectPrecisionTest, AutoStaysWithF32WhereBf16WasNotComparedOrIsNotFaster) {
  EXPECT_EQ(SelectPrecision(Rows(-1), PrecisionRule::kAuto, 1, true).precision, Precision::kF32);
  EXPECT_EQ(SelectPrecision(Rows(0, 125), PrecisionRule::kAuto, 1, true).precision,
            Precision::kF32);
  LoadRows f32_only = Rows(0);
  f32_only.resize(2);
  EXPECT_EQ(SelectPrecision(f32_only, PrecisionRule::kAuto, 1, true).precision, Precision::kF32);
}

TEST(SelectPrecisionTest, MadeUpInputsSayNothingOfWhatClientsSend) {
  const PrecisionChoice made_up = SelectPrecision(Rows(0.01), PrecisionRule::kAuto, 1, false);
  EXPECT_EQ(made_up.precision, Precision::kF32);
  EXPECT_THAT(made_up.why, testing::HasSubstr("on made-up inputs"));
  // Above the tolerance they need no better ones.
  EXPECT_THAT(SelectPrecision(Rows(2), PrecisionRule::kAuto, 1, false).why,
              testing::HasSubstr("allowed are 1"));
  EXPECT_EQ(SelectPrecision(Rows(9), PrecisionRule::kBf16, 0, false).precision, Precision::kBf16);
}

TEST(SelectPrecisionTest, RowsThatFailedDoNotCount) {
  LoadRows rows = Rows(0.001);
  rows.push_back(Row(Precision::kBf16, 4, 1, 5));
  rows.back().outcome = CellOutcome::kOom;
  EXPECT_EQ(SelectPrecision(rows, PrecisionRule::kAuto, 0.01, true).precision, Precision::kBf16);
}

}  // namespace
}  // namespace evenkeel
