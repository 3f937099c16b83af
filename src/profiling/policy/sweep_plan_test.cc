#include "profiling/policy/sweep_plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace evenkeel {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

std::vector<CellShape> Shapes(std::vector<int> cores, std::vector<int64_t> mib) {
  std::vector<CellShape> shapes;
  for (const int c : cores) {
    for (const int64_t m : mib) shapes.push_back({c, m * kMiB, 0, 0});
  }
  return shapes;
}

SweepPlan::Grid DefaultGrid() {
  return {Shapes({500, 1000, 2000}, {256, 512, 1024, 2048, 4096, 8192, 16384}),
          {1, 2, 4, 8, 16, 32, 64}};
}

// A container that needs `base + n * each` MiB, a batch of n taking (a + c n) / cores µs.
LoadRow Measured(const Cell& cell, int64_t base_mib, double each_mib) {
  LoadRow row;
  row.cell = cell;
  const auto need = static_cast<int64_t>((static_cast<double>(base_mib) + each_mib * cell.batch) *
                                         static_cast<double>(kMiB));
  row.peak_memory_bytes = std::min(need, cell.shape.memory_bytes);
  if (need > cell.shape.memory_bytes) {
    row.outcome = CellOutcome::kOom;
    return row;
  }
  row.batch_us = (100 + 10.0 * cell.batch) * 1000 / cell.shape.milli_cores;
  row.p50_us = row.p99_us = row.batch_us;
  row.no_batch_us = 110.0 * cell.batch * 1000 / cell.shape.milli_cores;
  return row;
}

using Container = std::function<LoadRow(const Cell&)>;

void RunAll(SweepPlan* plan, const Container& container) {
  for (int guard = 0; guard < 10'000; ++guard) {
    const auto cell = plan->Next();
    if (!cell) return;
    plan->Record(container(*cell));
  }
  FAIL() << "the plan never ends";
}

// Every cell of the table says what running it would have said.
void ExpectTrue(const SweepPlan& plan, const Container& container, const char* what) {
  for (const LoadRow& row : plan.Table()) {
    const LoadRow truth = container(row.cell);
    ASSERT_EQ(row.outcome, truth.outcome)
        << what << ": " << row.cell.shape.milli_cores << " " << row.cell.shape.memory_bytes / kMiB
        << " x" << row.cell.batch << (row.implied ? " implied" : "");
    if (truth.outcome == CellOutcome::kOk) {
      ASSERT_DOUBLE_EQ(row.batch_us, truth.batch_us);
    }
  }
}

TEST(SweepPlanTest, FullRunsEveryCellOnce) {
  SweepPlan::Grid grid = DefaultGrid();
  grid.full = true;
  SweepPlan plan(grid);
  RunAll(&plan, [](const Cell& cell) { return Measured(cell, 300, 4); });
  EXPECT_EQ(plan.measured(), plan.cells());
  EXPECT_EQ(plan.Table().size(), plan.cells());
  for (const LoadRow& row : plan.Table()) EXPECT_FALSE(row.implied);
}

TEST(SweepPlanTest, PrunedTableIsCompleteTrueAndRunsAtMostThirtyPercent) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 300; ++i) {
    const auto base = std::uniform_int_distribution<int64_t>(30, 6000)(random);
    const double each = std::uniform_real_distribution<double>(0, 30)(random);
    const Container container = [&](const Cell& cell) { return Measured(cell, base, each); };
    SweepPlan plan(DefaultGrid());
    RunAll(&plan, container);
    ASSERT_EQ(plan.Table().size(), plan.cells()) << base << " " << each;
    ExpectTrue(plan, container, "pruned");
    EXPECT_LE(static_cast<double>(plan.measured()), 0.3 * static_cast<double>(plan.cells()))
        << base << " MiB + " << each << " MiB an item";
  }
}

TEST(SweepPlanTest, ImpliedCellsAreMarkedAndMeasuredOnesAreNot) {
  SweepPlan plan(DefaultGrid());
  RunAll(&plan, [](const Cell& cell) { return Measured(cell, 100, 1); });
  size_t implied = 0;
  for (const LoadRow& row : plan.Table()) implied += row.implied;
  EXPECT_EQ(implied + plan.measured(), plan.cells());
}

TEST(SweepPlanTest, GoesOnFromWhatWasRecordedInAnyOrder) {
  std::mt19937_64 random(6);
  const Container container = [](const Cell& cell) { return Measured(cell, 400, 6); };
  SweepPlan whole(DefaultGrid());
  std::vector<LoadRow> rows;
  RunAll(&whole, [&](const Cell& cell) {
    rows.push_back(container(cell));
    return rows.back();
  });
  for (size_t kept = 0; kept <= rows.size(); ++kept) {
    std::vector<LoadRow> some(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(kept));
    std::shuffle(some.begin(), some.end(), random);
    SweepPlan resumed(DefaultGrid());
    for (const LoadRow& row : some) resumed.Record(row);
    size_t more = 0;
    RunAll(&resumed, [&](const Cell& cell) {
      ++more;
      return container(cell);
    });
    EXPECT_EQ(more, rows.size() - kept);
    EXPECT_EQ(resumed.Table().size(), whole.Table().size());
  }
}

TEST(SweepPlanTest, AModelThatFitsNowhereIsOutOfMemoryEverywhereAfterFewRuns) {
  SweepPlan plan(DefaultGrid());
  RunAll(&plan, [](const Cell& cell) { return Measured(cell, 1 << 20, 1); });
  EXPECT_EQ(plan.Table().size(), plan.cells());
  for (const LoadRow& row : plan.Table()) EXPECT_EQ(row.outcome, CellOutcome::kOom);
  EXPECT_LE(plan.measured(), 7u);  // the levels of memory, once
}

TEST(SweepPlanTest, ATimeoutImpliesTimeoutsOfLargerBatchesAndIsNotRepeated) {
  SweepPlan plan(DefaultGrid());
  size_t timeouts = 0;
  RunAll(&plan, [&](const Cell& cell) {
    LoadRow row = Measured(cell, 100, 1);
    if (cell.batch >= 8) {
      row.outcome = CellOutcome::kTimeout;
      ++timeouts;
    }
    return row;
  });
  EXPECT_EQ(timeouts, 3u);  // one a number of cores
  EXPECT_EQ(plan.Table().size(), plan.cells());
  for (const LoadRow& row : plan.Table()) {
    EXPECT_EQ(row.outcome, row.cell.batch >= 8 ? CellOutcome::kTimeout : CellOutcome::kOk);
  }
}

TEST(SweepPlanTest, AnErrorIsARowAndTheSweepGoesOn) {
  SweepPlan plan(DefaultGrid());
  RunAll(&plan, [](const Cell& cell) {
    LoadRow row = Measured(cell, 100, 1);
    if (cell.batch == 4) row.outcome = CellOutcome::kError;
    return row;
  });
  EXPECT_EQ(plan.Table().size(), plan.cells());
  for (const LoadRow& row : plan.Table()) {
    EXPECT_EQ(row.outcome, row.cell.batch == 4 ? CellOutcome::kError : CellOutcome::kOk);
  }
}

// Weights that are mapped from a file fit into any memory, but are read again and again where it is short.
TEST(SweepPlanTest, ACloseFitThatIsSlowIsMeasuredWithMoreMemoryToo) {
  const Container container = [](const Cell& cell) {
    LoadRow row = Measured(cell, 100, 1);
    if (cell.shape.memory_bytes == 256 * kMiB) {
      row.peak_memory_bytes = 255 * kMiB;
      row.batch_us *= 3;
    }
    return row;
  };
  SweepPlan plan(DefaultGrid());
  RunAll(&plan, container);
  EXPECT_EQ(plan.Table().size(), plan.cells());
  ExpectTrue(plan, container, "thrashing");
}

// Its pages may be charged to somebody else, so that its memory looks far from full; and only some sizes need be slow.
TEST(SweepPlanTest, ATimeThatHoldsWaitingForTheDiskStandsForNoOtherMemory) {
  const Container container = [](const Cell& cell) {
    LoadRow row = Measured(cell, 100, 1);
    row.runs = 20;
    if (cell.shape.memory_bytes <= 512 * kMiB && cell.batch <= 16) {
      row.major_faults = 300;
      row.batch_us *= 6;
    }
    return row;
  };
  SweepPlan plan(DefaultGrid());
  RunAll(&plan, container);
  EXPECT_EQ(plan.Table().size(), plan.cells());
  ExpectTrue(plan, container, "thrashing");
}

TEST(SweepPlanTest, UntilItIsMeasuredWithMoreMemoryNothingIsSaidOfThat) {
  SweepPlan plan(DefaultGrid());
  LoadRow row = Measured({{500, 256 * kMiB, 0, 0}, 1, Precision::kF32}, 100, 1);
  row.runs = 20;
  plan.Record(row);
  ASSERT_EQ(plan.Table().size(), 7u) << "implied at the larger memories";
  row.major_faults = 2;
  plan.Record(row);
  EXPECT_EQ(plan.Table().size(), 1u);
}

TEST(SweepPlanTest, APageOrTwoInManyRunsAreNoWaitingForTheDisk) {
  const auto runs = [](int64_t faults) {
    SweepPlan plan(DefaultGrid());
    RunAll(&plan, [&](const Cell& cell) {
      LoadRow row = Measured(cell, 100, 1);
      row.runs = 100;
      row.major_faults = faults;
      return row;
    });
    return plan.measured();
  };
  EXPECT_EQ(runs(9), runs(0));
  EXPECT_GT(runs(10), runs(0));
}

TEST(SweepPlanTest, ACloseFitThatIsNotSlowCostsOneMoreRunAColumn) {
  const auto runs = [](bool close) {
    SweepPlan plan(DefaultGrid());
    RunAll(&plan, [&](const Cell& cell) {
      LoadRow row = Measured(cell, 100, 1);
      if (close && cell.shape.memory_bytes == 256 * kMiB) row.peak_memory_bytes = 255 * kMiB;
      return row;
    });
    return plan.measured();
  };
  EXPECT_EQ(runs(true), runs(false) + 3);
}

TEST(SweepPlanTest, RowsOutsideTheGridAndImpliedOnesAreNotKept) {
  SweepPlan plan(DefaultGrid());
  LoadRow row = Measured({{3000, 256 * kMiB, 0, 0}, 1, Precision::kF32}, 10, 1);
  plan.Record(row);
  row.cell = {{500, 256 * kMiB, 0, 0}, 3, Precision::kF32};
  plan.Record(row);
  row.cell = {{500, 256 * kMiB, 0, 0}, 1, Precision::kBf16};
  plan.Record(row);
  row.cell = {{500, 256 * kMiB, 0, 0}, 1, Precision::kF32};
  row.implied = true;
  plan.Record(row);
  EXPECT_EQ(plan.measured(), 0u);
}

TEST(SweepPlanTest, ExpectedNeverShrinksBelowWhatIsDoneAndEndsAtIt) {
  SweepPlan plan(DefaultGrid());
  RunAll(&plan, [&](const Cell& cell) {
    EXPECT_GT(plan.expected(), plan.measured());
    return Measured(cell, 700, 20);
  });
  EXPECT_EQ(plan.expected(), plan.measured());
}

TEST(SweepPlanTest, GpuShapesClimbInDeviceMemory) {
  SweepPlan::Grid grid;
  for (const int cores : {16, 32}) {
    for (const int64_t gib : {1, 2, 4})
      grid.shapes.push_back({1000, 1024 * kMiB, cores, gib << 30});
  }
  grid.batches = {1, 2, 4, 8};
  const Container container = [](const Cell& cell) {
    LoadRow row = Measured(cell, 10, 0);
    if ((900 + 300 * cell.batch) * kMiB > cell.shape.gpu_memory_bytes)
      row.outcome = CellOutcome::kOom;
    row.batch_us = 100.0 * cell.batch / cell.shape.gpu_cores;
    return row;
  };
  SweepPlan plan(grid);
  RunAll(&plan, container);
  EXPECT_EQ(plan.Table().size(), plan.cells());
  ExpectTrue(plan, container, "gpu");
}

TEST(SweepPlanTest, AnEmptyGridIsDoneAtOnce) {
  SweepPlan plan(SweepPlan::Grid{});
  EXPECT_FALSE(plan.Next());
  EXPECT_TRUE(plan.Table().empty());
  EXPECT_EQ(plan.cells(), 0u);
}

}  // namespace
}  // namespace evenkeel
