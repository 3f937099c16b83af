#include "profiling/policy/select_method.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <tuple>

#include "profiling/policy/random_table.h"

namespace evenkeel {
namespace {

// The sentence of A5, read word by word: "keep rows with batch >= 2, outcome ok and ratio <= threshold; most frequent batch size (equal
// frequency: the largest); of its rows the least container memory, then fewest cores, then lowest Batchtime; nothing left means do not
// batch". Every row is held against every other one; no sorting, no sieve.
std::optional<size_t> ReadSentence(const LoadRows& rows, double threshold, Precision precision) {
  const auto kept = [&](const LoadRow& row) {
    return row.cell.shape.gpu_cores == 0 && row.cell.precision == precision &&
           row.cell.batch >= 2 && row.outcome == CellOutcome::kOk &&
           row.batch_us / row.no_batch_us <= threshold;
  };
  const auto frequency = [&](int batch) {
    int count = 0;
    for (const LoadRow& row : rows) count += kept(row) && row.cell.batch == batch;
    return count;
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!kept(rows[i])) continue;
    bool wins = true;
    for (size_t j = 0; j < rows.size() && wins; ++j) {
      if (!kept(rows[j]) || i == j) continue;
      const LoadRow &a = rows[i], &b = rows[j];
      if (a.cell.batch != b.cell.batch) {
        const int fa = frequency(a.cell.batch), fb = frequency(b.cell.batch);
        wins = fa > fb || (fa == fb && a.cell.batch > b.cell.batch);
      } else if (a.cell.shape.memory_bytes != b.cell.shape.memory_bytes) {
        wins = a.cell.shape.memory_bytes < b.cell.shape.memory_bytes;
      } else if (a.cell.shape.milli_cores != b.cell.shape.milli_cores) {
        wins = a.cell.shape.milli_cores < b.cell.shape.milli_cores;
      } else if (a.batch_us != b.batch_us) {
        wins = a.batch_us < b.batch_us;
      } else {
        wins = i < j;
      }
    }
    if (wins) return i;
  }
  return std::nullopt;
}

TEST(SelectMethodTest, ChoosesWhatItsSentenceSaysOnTenThousandRandomTables) {
  std::mt19937_64 random(20261122);
  int chosen = 0, not_batched = 0;
  for (int i = 0; i < 10'000; ++i) {
    const LoadRows rows = RandomTable(random);
    const double threshold = std::uniform_int_distribution<int>(1, 10)(random) / 10.0;
    const Precision precision = random() % 4 == 0 ? Precision::kBf16 : Precision::kF32;
    const Choice choice = SelectByMethod(rows, threshold, precision);
    ASSERT_EQ(choice.row, ReadSentence(rows, threshold, precision)) << "table " << i;
    (choice.row ? chosen : not_batched) += 1;
  }
  // Both answers must have been tried.
  EXPECT_GT(chosen, 2000);
  EXPECT_GT(not_batched, 500);
}

TEST(SelectMethodTest, EachRowFallsToExactlyOneRuleOrWins) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 500; ++i) {
    const LoadRows rows = RandomTable(random);
    const Choice choice = i % 2 == 0 ? SelectByMethod(rows, 0.8, Precision::kF32)
                                     : SelectGpuByMethod(rows, {}, Precision::kF32);
    std::multiset<size_t> seen;
    for (const ChoiceStep& step : choice.steps)
      seen.insert(step.dropped.begin(), step.dropped.end());
    if (choice.row) seen.insert(*choice.row);
    ASSERT_EQ(seen.size(), rows.size());
    for (size_t row = 0; row < rows.size(); ++row) ASSERT_EQ(seen.count(row), 1u);
    EXPECT_FALSE(choice.why.empty());
  }
}

TEST(SelectMethodTest, OrderOfTheTableDoesNotMatterWhereNoRowsAreEqual) {
  std::mt19937_64 random(8);
  for (int i = 0; i < 500; ++i) {
    LoadRows rows = RandomTable(random);
    double unique = 0;
    for (LoadRow& row : rows) row.batch_us += unique += 1e-6;
    const Choice before = SelectByMethod(rows, 0.8, Precision::kF32);
    LoadRows shuffled = rows;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    const Choice after = SelectByMethod(shuffled, 0.8, Precision::kF32);
    ASSERT_EQ(before.row.has_value(), after.row.has_value());
    if (before.row) {
      EXPECT_EQ(rows[*before.row].cell, shuffled[*after.row].cell);
      EXPECT_EQ(rows[*before.row].batch_us, shuffled[*after.row].batch_us);
    }
  }
}

LoadRow Row(int milli_cores, int64_t memory, int batch, double batch_us, double no_batch_us) {
  LoadRow row;
  row.cell = Cell{{milli_cores, memory, 0, 0}, batch, Precision::kF32};
  row.batch_us = row.p50_us = row.p99_us = batch_us;
  row.no_batch_us = no_batch_us;
  return row;
}

TEST(SelectMethodTest, AModelThatGainsNothingIsNotBatched) {
  const LoadRows rows = {Row(1000, 512, 1, 100, 100), Row(1000, 512, 2, 195, 200),
                         Row(1000, 512, 4, 390, 400)};
  const Choice choice = SelectByMethod(rows, 0.8, Precision::kF32);
  EXPECT_FALSE(choice.row);
  EXPECT_THAT(choice.why, testing::HasSubstr("do not batch"));
}

TEST(SelectMethodTest, ImpliedRowsCountForFrequency) {
  LoadRows rows = {Row(1000, 256, 8, 100, 800), Row(1000, 256, 4, 100, 400),
                   Row(1000, 512, 4, 100, 400)};
  rows[2].implied = true;
  EXPECT_EQ(SelectByMethod(rows, 0.8, Precision::kF32).row, 1u);
  rows[2].outcome = CellOutcome::kOom;
  EXPECT_EQ(SelectByMethod(rows, 0.8, Precision::kF32).row,
            0u);  // now 4 and 8 are equally frequent
}

TEST(SelectMethodTest, LeastContainerMemoryIsTheShapesAndNotTheMeasuredPeak) {
  LoadRows rows = {Row(1000, 512, 4, 100, 400), Row(1000, 1024, 4, 100, 400)};
  rows[0].peak_memory_bytes = 400;
  rows[1].peak_memory_bytes = 100;
  EXPECT_EQ(SelectByMethod(rows, 0.8, Precision::kF32).row, 0u);
}

TEST(SelectMethodTest, TheThresholdItselfPasses) {
  const LoadRows rows = {Row(1000, 512, 2, 100, 200)};
  EXPECT_TRUE(SelectByMethod(rows, 0.5, Precision::kF32).row);
  EXPECT_FALSE(SelectByMethod(rows, 0.49, Precision::kF32).row);
}

TEST(SelectGpuMethodTest, LargestBatchThenLeastDeviceMemoryThenFewestCores) {
  std::mt19937_64 random(9);
  for (int i = 0; i < 2000; ++i) {
    const LoadRows rows = RandomTable(random);
    const GpuThresholds limits{std::uniform_real_distribution<double>(100, 3000)(random),
                               int64_t{1} << std::uniform_int_distribution<int>(28, 32)(random)};
    const Choice choice = SelectGpuByMethod(rows, limits, Precision::kF32);
    const auto qualifies = [&](const LoadRow& row) {
      return row.cell.shape.gpu_cores > 0 && row.cell.precision == Precision::kF32 &&
             row.outcome == CellOutcome::kOk && row.batch_us <= limits.latency_us &&
             row.cell.shape.gpu_memory_bytes <= limits.gpu_memory_bytes;
    };
    const bool any = std::ranges::any_of(rows, qualifies);
    ASSERT_EQ(choice.row.has_value(), any);
    if (!any) continue;
    const LoadRow& won = rows[*choice.row];
    ASSERT_TRUE(qualifies(won));
    for (const LoadRow& row : rows) {
      if (!qualifies(row)) continue;
      const auto rank = [](const LoadRow& r) {
        return std::tuple(-r.cell.batch, r.cell.shape.gpu_memory_bytes, r.cell.shape.gpu_cores);
      };
      ASSERT_LE(rank(won), rank(row));
    }
  }
}

}  // namespace
}  // namespace evenkeel
