#include "server/class_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

LoadRow Row(bool gpu, int batch, double batch_us) {
  LoadRow row;
  row.cell.shape = gpu ? CellShape{1000, kGiB, 4, kGiB} : CellShape{1000, kGiB / 4, 0, 0};
  row.cell.batch = batch;
  row.batch_us = row.p50_us = row.p99_us = batch_us;
  row.no_batch_us = batch * 1000.0;
  return row;
}

// `cpu_us`, `gpu_us`: of an item in a batch of 1 or 2. The host has two cores, a quarter of the accelerator counts as half a core more.
ClassQuery Query(double cpu_us, double gpu_us, double rate) {
  ClassQuery query;
  for (const int batch : {1, 2}) {
    query.rows.push_back(Row(false, batch, cpu_us * batch));
    query.rows.push_back(Row(true, batch, gpu_us * batch));
  }
  query.objective.host = {2000, 16 * kGiB, 16, 4 * kGiB};
  query.objective.rate_per_s = rate;
  return query;
}

std::string Text(const HeldClasses& held) {
  return std::string(held.cpu ? "c" : "") + (held.gpu ? "g" : "");
}

class ClassHoldingTest : public ::testing::Test {
 protected:
  std::string After(Duration span, const ClassQuery& query) {
    now += span;
    return Text(holding.Decide(query, now));
  }
  ClassHolding holding;
  Time now = Time(1h);
};

TEST_F(ClassHoldingTest, TheCheaperClassAloneWhileItCarriesTheLoad) {
  EXPECT_EQ(After(0s, Query(10'000, 9'000, 20)), "c");
  EXPECT_THAT(holding.held().why, HasSubstr("cpu costs least"));
  ClassHolding other;
  EXPECT_EQ(Text(other.Decide(Query(10'000, 4'000, 20), now)), "g");
}

TEST_F(ClassHoldingTest, BothBeyondWhatTheCheaperCarries) {
  // Two cores, 100 items a second each, four fifths of it.
  EXPECT_EQ(After(0s, Query(10'000, 9'000, 159)), "c");
  EXPECT_EQ(After(1s, Query(10'000, 9'000, 161)), "cg");
  EXPECT_THAT(holding.held().why, HasSubstr("alone carries 160"));
  ClassHolding many;
  ClassQuery query = Query(10'000, 4'000, 390);
  EXPECT_EQ(Text(many.Decide(query, now)), "cg");  // one instance there: 200
  query.gpu_instances = 2;
  ClassHolding two;
  EXPECT_EQ(Text(two.Decide(query, now)), "g");
}

TEST_F(ClassHoldingTest, BackToOneOnceTheLoadHasBeenLowForLong) {
  ASSERT_EQ(After(0s, Query(10'000, 9'000, 200)), "cg");
  EXPECT_EQ(After(1s, Query(10'000, 9'000, 20)), "cg");
  EXPECT_EQ(After(58s, Query(10'000, 9'000, 20)), "cg");
  EXPECT_EQ(After(2s, Query(10'000, 9'000, 20)), "c");
  // Not low enough: above three quarters of what it carries the other may be needed at any time.
  ASSERT_EQ(After(1s, Query(10'000, 9'000, 200)), "cg");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(After(50s, Query(10'000, 9'000, 125)), "cg");
}

TEST_F(ClassHoldingTest, StaysWithTheOneItHasForASmallGainOrTooSoon) {
  ASSERT_EQ(After(0s, Query(10'000, 9'000, 20)), "c");
  EXPECT_EQ(After(100s, Query(10'000, 6'000, 20)), "c") << "a gain of a few percent";
  EXPECT_THAT(holding.held().why, HasSubstr("cpu costs least"));
  EXPECT_EQ(After(1s, Query(10'000, 4'000, 20)), "g");
  EXPECT_EQ(After(59s, Query(4'000, 9'000, 20)), "g") << "a moment ago";
  EXPECT_EQ(After(2s, Query(4'000, 9'000, 20)), "c");
}

TEST_F(ClassHoldingTest, AClassThatDoesNotKeepTheObjectiveIsLeft) {
  ASSERT_EQ(After(0s, Query(10'000, 20'000, 20)), "c");
  // 10 ms within 50; 60 ms are not.
  EXPECT_EQ(After(100s, Query(60'000, 10'000, 10)), "g");
  EXPECT_THAT(holding.held().why, HasSubstr("only gpu keeps the objective"));
  EXPECT_EQ(After(100s, Query(60'000, 70'000, 10)), "cg") << "neither does";
  EXPECT_THAT(holding.held().why, HasSubstr("neither keeps the objective"));
}

TEST_F(ClassHoldingTest, WhatWasNotMeasuredIsNotJudged) {
  ClassQuery query = Query(10'000, 9'000, 20);
  std::erase_if(query.rows, [](const LoadRow& row) { return row.cell.shape.gpu(); });
  EXPECT_EQ(After(0s, query), "cg");
  EXPECT_THAT(holding.held().why, HasSubstr("gpu is not measured"));
  // Measured, and nothing works there.
  query = Query(10'000, 9'000, 20);
  for (LoadRow& row : query.rows) {
    if (row.cell.shape.gpu()) row.outcome = CellOutcome::kOom;
  }
  EXPECT_EQ(After(1s, query), "c");
  query.objective.rate_per_s = 1000;
  EXPECT_EQ(After(100s, query), "c");
}

}  // namespace
}  // namespace evenkeel
