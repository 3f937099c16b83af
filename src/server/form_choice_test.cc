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
  FormQuery query = Query();
  query.sampled = true;
  const auto strict = DecideForm(model, rows, query);
  EXPECT_EQ(strict.cell->precision, Precision::kF32);
  EXPECT_THAT(strict.precision.why, HasSubstr("differ by 0.01, allowed are 0.005"));
  model.tolerance = 0.02;
  EXPECT_EQ(DecideForm(model, rows, query).cell->precision, Precision::kBf16);
  query.sampled = false;
  EXPECT_EQ(DecideForm(model, rows, query).cell->precision, Precision::kF32);
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

LoadRow OnDevice(int cores, int64_t mib, int batch, double batch_us) {
  LoadRow row = Row(1000, batch, batch_us);
  row.cell.shape = {1000, 1024 * kMiB, cores, mib * kMiB};
  return row;
}

// 8 ms + 0.4 ms n on a quarter of 16 cores, twice as fast on half; batch 8 takes 2 GiB.
LoadRows Shares() {
  LoadRows rows = Pays();
  for (const int batch : {1, 2, 4, 8}) {
    for (const int64_t mib : {1024, 2048}) {
      for (const int cores : {4, 8}) {
        rows.push_back(OnDevice(cores, mib, batch, (8000 + 400 * batch) * 4.0 / cores));
        if (batch == 8 && mib == 1024) rows.back().outcome = CellOutcome::kOom;
      }
    }
  }
  return rows;
}

FormQuery DeviceQuery() {
  FormQuery query = Query();
  query.device = DeviceClass::kGpu;
  query.host.gpu_cores = 16;
  query.host.gpu_memory_bytes = 4096 * kMiB;
  query.room = {16, 4096 * kMiB};
  return query;
}

TEST(FormChoiceTest, OnADeviceTheMethodTakesTheLargestBatchThenMemoryThenCores) {
  FormQuery query = DeviceQuery();
  query.by_method = true;
  const auto all = DecideForm({}, Shares(), query);
  ASSERT_TRUE(all.cell);
  EXPECT_EQ(all.rule, "method");
  EXPECT_EQ(all.batch, 8);
  EXPECT_EQ(DeviceShareOf(all.cell->shape), (DeviceSize{4, 2048 * kMiB}));
  // A quarter keeps that with 2 rows (8.8 ms), half of the cores with 8 (5.6 ms).
  query.objective = 9ms;
  EXPECT_EQ(DeviceShareOf(DecideForm({}, Shares(), query).cell->shape),
            (DeviceSize{8, 2048 * kMiB}));
  query.objective = 1ms;
  EXPECT_FALSE(DecideForm({}, Shares(), query).cell);
}

TEST(FormChoiceTest, OnADeviceTheObjectiveTakesTheCheapestShare) {
  const auto decision = DecideForm({}, Shares(), DeviceQuery());
  ASSERT_TRUE(decision.cell);
  EXPECT_EQ(decision.rule, "objective");
  ObjectiveQuery reference;
  reference.objective_us = 50'000;
  reference.rate_per_s = 500;
  reference.host = DeviceQuery().host;
  reference.gpu = true;
  const auto chosen = SelectByObjective(Shares(), reference);
  ASSERT_TRUE(chosen.row);
  EXPECT_EQ(decision.cell, Shares()[*chosen.row].cell);
  EXPECT_THAT(decision.asked, HasSubstr("16c/4GiB of the device free"));
}

TEST(FormChoiceTest, OnlySharesThatTheDeviceHasRoomFor) {
  FormQuery query = DeviceQuery();
  query.by_method = true;
  query.room = {4, 1024 * kMiB};
  const auto decision = DecideForm({}, Shares(), query);
  ASSERT_TRUE(decision.cell);
  EXPECT_EQ(decision.cell->shape, (CellShape{1000, 1024 * kMiB, 4, 1024 * kMiB}));
  EXPECT_EQ(decision.batch, 4);
  // What it has needs no room.
  query.room = {0, 0};
  EXPECT_FALSE(DecideForm({}, Shares(), query).cell);
  query.held = {4, 1024 * kMiB};
  EXPECT_EQ(DecideForm({}, Shares(), query).cell, decision.cell);
  query.current = OnDevice(8, 2048, 8, 0).cell;
  query.room = {0, 0};
  EXPECT_EQ(DecideForm({}, Shares(), query).cell, query.current);
}

TEST(FormChoiceTest, InstancesAreExchangedOneByOne) {
  const auto share = [](int cores) { return DeviceSize{cores, 1}; };
  EXPECT_TRUE(FitsRoom(share(8), share(4), {8, 9}, 1));
  EXPECT_FALSE(FitsRoom(share(8), share(4), {7, 9}, 1));
  EXPECT_FALSE(FitsRoom(share(8), share(4), {9, 0}, 1));
  // Two of 8 in the place of two of 4: the second when 8 + 4 are held, of 16.
  EXPECT_FALSE(FitsRoom(share(8), share(4), {8, 9}, 2));
  EXPECT_TRUE(FitsRoom(share(8), share(4), {12, 9}, 2));
  EXPECT_TRUE(FitsRoom(share(4), share(8), {4, 9}, 2));
}

TEST(FormChoiceTest, AShareThatTheManifestNamesIsTheOnlyOne) {
  ModelConfig model;
  model.gpu_shape = {8, 1024 * kMiB};
  FormQuery query = DeviceQuery();
  query.by_method = true;
  query.room = {};
  const auto decision = DecideForm(model, Shares(), query);
  ASSERT_TRUE(decision.cell);
  EXPECT_EQ(DeviceShareOf(decision.cell->shape), model.gpu_shape);
  EXPECT_EQ(decision.batch, 4);
}

TEST(FormChoiceTest, TheProcessorsChoiceHeedsNoRowOfADevice) {
  const auto with = DecideForm({}, Shares(), Query()), without = DecideForm({}, Pays(), Query());
  EXPECT_EQ(with.cell, without.cell);
  EXPECT_EQ(with.rows.size(), Pays().size());
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
