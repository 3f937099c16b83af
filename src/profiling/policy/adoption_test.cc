#include "profiling/policy/adoption.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "profiling/policy/random_table.h"

namespace evenkeel {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

LoadRow Row(int milli_cores, int batch, double batch_us, Precision precision = Precision::kF32) {
  LoadRow row;
  row.cell = {{milli_cores, 256 * kMiB, 0, 0}, batch, precision};
  row.batch_us = row.p50_us = batch_us;
  row.p99_us = batch_us * 1.1;
  row.no_batch_us = batch_us * 2;
  return row;
}

Choice Chose(size_t row, bool met = true) {
  Choice choice;
  choice.row = row;
  choice.met = met;
  return choice;
}

AdoptionQuery Query(std::optional<Cell> current, double objective_us = 1e6) {
  AdoptionQuery query;
  query.current = current;
  query.objective.objective_us = objective_us;
  query.objective.rate_per_s = 10;
  query.objective.host.milli_cores = 4000;
  query.objective.host.memory_bytes = 8192 * kMiB;
  return query;
}

TEST(AdoptionTest, TheFirstChoiceIsAdopted) {
  EXPECT_TRUE(Weigh({Row(1000, 1, 1000)}, Chose(0), Query({})).change);
}

TEST(AdoptionTest, StaysForASmallGainAndGoesForALargeOne) {
  const LoadRows rows = {Row(1000, 1, 1000), Row(1000, 2, 1840), Row(1000, 4, 3000)};
  EXPECT_FALSE(Weigh(rows, Chose(1), Query(rows[0].cell)).change);  // 8 % cheaper an item
  EXPECT_TRUE(Weigh(rows, Chose(2), Query(rows[0].cell)).change);   // 25 %
}

TEST(AdoptionTest, LeavesARowThatKeepsTheObjectiveNoMore) {
  const LoadRows rows = {Row(1000, 1, 1000), Row(2000, 1, 600)};
  const auto adoption = Weigh(rows, Chose(1), Query(rows[0].cell, 1000));
  EXPECT_TRUE(adoption.change) << adoption.why;
  // Not for one that does not keep it either.
  EXPECT_FALSE(Weigh(rows, Chose(1, false), Query(rows[0].cell, 1000)).change);
}

TEST(AdoptionTest, LeavesARowThatIsGoneOrFailed) {
  LoadRows rows = {Row(1000, 1, 1000), Row(1000, 2, 1990)};
  EXPECT_TRUE(Weigh(rows, Chose(1), Query(Cell{{500, kMiB, 0, 0}, 1, Precision::kF32})).change);
  rows[0].outcome = CellOutcome::kOom;
  EXPECT_TRUE(Weigh(rows, Chose(1), Query(rows[0].cell)).change);
}

TEST(AdoptionTest, AnotherPrecisionIsTakenWhateverItCosts) {
  const LoadRows rows = {Row(1000, 1, 1000, Precision::kBf16), Row(1000, 1, 3000)};
  EXPECT_TRUE(Weigh(rows, Chose(1), Query(rows[0].cell)).change);
}

TEST(AdoptionTest, TheMethodsRuleIsFollowedAlways) {
  const LoadRows rows = {Row(1000, 1, 1000), Row(1000, 2, 1990)};
  AdoptionQuery query = Query(rows[0].cell);
  query.always = true;
  EXPECT_TRUE(Weigh(rows, Chose(1), query).change);
  EXPECT_FALSE(Weigh(rows, Chose(0), query).change);
}

TEST(AdoptionTest, NoRowChosenChangesNothing) {
  EXPECT_FALSE(Weigh({Row(1000, 1, 1000)}, Choice(), Query({})).change);
}

// Following the advice ends: no second change at the same query.
RC_GTEST_PROP(AdoptionTest, DoesNotFlap, (uint64_t seed)) {
  std::mt19937_64 random(seed);
  const LoadRows rows = RandomTable(random);
  AdoptionQuery query = Query({}, 1000.0 * *rc::gen::inRange(1, 50));
  query.objective.rate_per_s = *rc::gen::inRange(0, 5000);
  const Choice choice = SelectByObjective(rows, query.objective);
  if (!choice.row) return;
  for (const LoadRow& start : rows) {
    query.current = start.cell;
    if (!Weigh(rows, choice, query).change) continue;
    query.current = rows[*choice.row].cell;
    RC_ASSERT(!Weigh(rows, choice, query).change);
  }
}

}  // namespace
}  // namespace evenkeel
