#include "profiling/policy/select_class.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "profiling/policy/random_table.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr DeviceClass kCpu = DeviceClass::kCpu, kGpu = DeviceClass::kGpu,
                      kAuto = DeviceClass::kAuto;

LoadRow Row(bool gpu, int batch, double batch_us) {
  LoadRow row;
  row.cell = Cell{
      {1000, int64_t{512} << 20, gpu ? 16 : 0, gpu ? int64_t{1} << 30 : 0}, batch, Precision::kF32};
  row.batch_us = row.p50_us = row.p99_us = batch_us;
  return row;
}

ObjectiveQuery Query(double objective_us, double rate) {
  ObjectiveQuery query;
  query.objective_us = objective_us;
  query.rate_per_s = rate;
  query.host = {4000, int64_t{16} << 30, 64, int64_t{8} << 30};
  return query;
}

TEST(SelectClassTest, WithoutAutoNoBatchEverLeavesItsClassOnAnyTable) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 2000; ++i) {
    const LoadRows rows = RandomTable(random);
    const ObjectiveQuery query = Query(1000, static_cast<double>(random() % 3 * 1000));
    for (const DeviceClass fixed : {kCpu, kGpu}) {
      const ClassChoice choice = SelectClass(rows, fixed, query);
      ASSERT_THAT(choice.order, ElementsAre(fixed));
      ASSERT_FALSE(choice.Allows(fixed == kCpu ? kGpu : kCpu));
      const Choice& own = fixed == kCpu ? choice.cpu : choice.gpu;
      if (own.row) {
        ASSERT_EQ(rows[*own.row].cell.shape.gpu(), fixed == kGpu);
      }
    }
  }
}

TEST(SelectClassTest, AutoFillsTheFasterClassFirstAndOverflowsToTheOther) {
  // The GPU shape counts as a quarter of the device, so as one core more: twice the cost, four times the speed.
  const LoadRows rows = {Row(false, 8, 4000), Row(true, 8, 1000)};
  const ClassChoice choice = SelectClass(rows, kAuto, Query(50'000, 1000));
  EXPECT_THAT(choice.order, ElementsAre(kGpu, kCpu));
  EXPECT_EQ(choice.winner, kGpu);
}

TEST(SelectClassTest, AutoStartsTheCheaperClassAlsoWhereItIsSlower) {
  const LoadRows rows = {Row(false, 8, 1200), Row(true, 8, 1000)};
  const ClassChoice choice = SelectClass(rows, kAuto, Query(50'000, 1000));
  EXPECT_EQ(choice.winner, kCpu);
  EXPECT_THAT(choice.order, ElementsAre(kGpu, kCpu));
}

TEST(SelectClassTest, AClassThatMissesTheObjectiveGetsNoOverflow) {
  const LoadRows rows = {Row(false, 1, 80'000), Row(true, 1, 2000)};
  const ClassChoice choice = SelectClass(rows, kAuto, Query(50'000, 10));
  EXPECT_THAT(choice.order, ElementsAre(kGpu));
  EXPECT_EQ(choice.winner, kGpu);
}

TEST(SelectClassTest, WithoutAGpuRowAutoIsCpu) {
  EXPECT_THAT(SelectClass({Row(false, 1, 100)}, kAuto, Query(50'000, 0)).order, ElementsAre(kCpu));
  LoadRows rows = {Row(false, 1, 100), Row(true, 1, 10)};
  rows[1].outcome = CellOutcome::kOom;
  EXPECT_THAT(SelectClass(rows, kAuto, Query(50'000, 0)).order, ElementsAre(kCpu));
}

TEST(SelectClassTest, NoRowAtAllIsNoClassAtAll) {
  const ClassChoice choice = SelectClass({}, kAuto, Query(50'000, 0));
  EXPECT_THAT(choice.order, IsEmpty());
  EXPECT_FALSE(choice.winner);
}

}  // namespace
}  // namespace evenkeel
