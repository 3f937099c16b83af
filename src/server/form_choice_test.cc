#include "server/form_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

LoadRow Row(int milli_cores, int batch, double batch_us, Precision precision = Precision::kF32,
            double difference = -1) {
  LoadRow row;
  row.cell = {{milli_cores, 256 * kMiB, 0, 0}, batch, precision};
  row.batch_us = row.p50_us = batch_us;
  row.p99_us = batch_us * 1.1;
  row.no_batch_us = batch * 1000.0;
  row.diff_max = row.diff_mean = difference;
  return row;
}

// A fixed part of 0.8 ms; two cores are 1.5 times as fast as one.
LoadRows Pays() {
  LoadRows rows;
  for (const int batch : {1, 2, 4, 8}) {
    rows.push_back(Row(1000, batch, 800 + 200 * batch));
    rows.push_back(Row(2000, batch, (800 + 200 * batch) / 1.5));
  }
  return rows;
}

FormQuery Query() {
  FormQuery query;
  query.objective = 50ms;
  query.rate_per_s = 500;
  query.host.milli_cores = 2000;
  query.host.memory_bytes = 8192 * kMiB;
  return query;
}

TEST(FormChoiceTest, ObjectiveTakesTheCheapestRowThatKeepsIt) {
  const auto decision = DecideForm({}, Pays(), Query());
  ASSERT_TRUE(decision.cell);
  EXPECT_EQ(decision.cell->shape.milli_cores, 1000);
  EXPECT_EQ(decision.batch, 8);
  EXPECT_TRUE(decision.adoption.change);
  EXPECT_EQ(decision.rule, "objective");
  EXPECT_EQ(decision.asked, "p99 within 50ms at 500 rows/s");
}

TEST(FormChoiceTest, MethodFollowsItsThreshold) {
  FormQuery query = Query();
  query.by_method = true;
  const auto decision = DecideForm({}, Pays(), query);
  EXPECT_EQ(decision.batch, 8);
  EXPECT_EQ(decision.rule, "method");
  query.ratio_threshold = 0.1;
  const auto not_batched = DecideForm({}, Pays(), query);
  EXPECT_FALSE(not_batched.choice.row);
  EXPECT_EQ(not_batched.batch, 1);
  ASSERT_TRUE(not_batched.cell);
  EXPECT_EQ(not_batched.cell->batch, 1);
  EXPECT_THAT(not_batched.choice.why, HasSubstr("do not batch"));
}

TEST(FormChoiceTest, FixedThreadsLeaveOnlyTheirShapes) {
  FormQuery query = Query();
  query.fixed_threads = 2;
  const auto decision = DecideForm({}, Pays(), query);
  ASSERT_TRUE(decision.cell);
  EXPECT_EQ(decision.cell->shape.milli_cores, 2000);
  query.fixed_threads = 3;
  EXPECT_FALSE(DecideForm({}, Pays(), query).cell);
  EXPECT_FALSE(DecideForm({}, Pays(), query).adoption.change);
}

TEST(FormChoiceTest, Bf16OnlyWithinTheTolerance) {
  LoadRows rows = Pays();
  for (const int batch : {1, 2, 4, 8})
    rows.push_back(Row(1000, batch, (800 + 200 * batch) / 3, Precision::kBf16, 0.01));
  ModelConfig model;
  EXPECT_EQ(DecideForm(model, rows, Query()).cell->precision, Precision::kF32);
  model.precision_auto = true;
  model.tolerance = 0.005;
  const auto strict = DecideForm(model, rows, Query());
  EXPECT_EQ(strict.cell->precision, Precision::kF32);
  EXPECT_THAT(strict.precision.why, HasSubstr("differ by 0.01, allowed are 0.005"));
  model.tolerance = 0.02;
  EXPECT_EQ(DecideForm(model, rows, Query()).cell->precision, Precision::kBf16);
}

TEST(FormChoiceTest, StaysWithWhatItRunsOnForASmallGain) {
  FormQuery query = Query();
  query.current = Pays()[4].cell;  // batch 4 on one core
  LoadRows rows = Pays();
  rows[6].batch_us = 3100;  // batch 8: 3 % cheaper an item
  EXPECT_FALSE(DecideForm({}, rows, query).adoption.change);
  rows[6].batch_us = 2400;
  EXPECT_TRUE(DecideForm({}, rows, query).adoption.change);
}

TEST(FormChoiceTest, MemoryThatWasTooLittleInServingIsNotChosenAgain) {
  LoadRows rows = Pays();
  for (const LoadRow& row : Pays()) {
    rows.push_back(row);
    rows.back().cell.shape.memory_bytes *= 2;
    rows.back().implied = true;
  }
  FormQuery query = Query();
  const auto before = DecideForm({}, rows, query);
  ASSERT_TRUE(before.cell);
  EXPECT_EQ(before.cell->shape.memory_bytes, 256 * kMiB);
  query.current = before.cell;
  query.least_memory = 256 * kMiB + 1;
  const auto after = DecideForm({}, rows, query);
  ASSERT_TRUE(after.cell);
  EXPECT_EQ(after.cell->shape.memory_bytes, 512 * kMiB);
  EXPECT_TRUE(after.adoption.change) << after.adoption.why;
}

TEST(FormChoiceTest, ATableWithoutAFigureDecidesNothing) {
  LoadRows rows = Pays();
  for (LoadRow& row : rows) row.outcome = CellOutcome::kOom;
  const auto decision = DecideForm({}, rows, Query());
  EXPECT_FALSE(decision.cell);
  EXPECT_FALSE(decision.adoption.change);
  EXPECT_FALSE(decision.adoption.why.empty());
}

TEST(FormChoiceTest, TimesAreOfTheCellsShapeAndPrecision) {
  LoadRows rows = Pays();
  rows.push_back(Row(1000, 2, 1, Precision::kBf16));
  rows[4].outcome = CellOutcome::kOom;  // batch 4 on one core
  const auto times = TimesOn(rows, rows[0].cell);
  ASSERT_EQ(times.size(), 3u);
  EXPECT_EQ(times[0].rows, 1);
  EXPECT_EQ(times[1].rows, 2);
  EXPECT_EQ(times[2].rows, 8);
  EXPECT_EQ(times[1].mean, 1200us);
  EXPECT_EQ(times[1].p99, 1320us);
}

}  // namespace
}  // namespace evenkeel
