// Full grids that were measured on the demo models (bench/tables/grids), replayed: the pruner runs at most 30 % of the cells, and both
// selectors choose from its table what they choose from the full grid.
//
// A full grid measures one thing many times: where memory is enough, shapes that differ in memory alone are equal, and their rows differ by
// the scatter of the measurement. The pruner measures it once. A choice between rows that are equal but for that scatter is a throw of
// dice for both, so "the same choice" is asked where the full grid's own scatter does not decide:
//   method: the batch size that appears most often, where no other one appears nearly as often; else one of those that do;
//   objective: the same row, or one whose cost in the full grid is the chosen one's within the scatter.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "core/format.h"
#include "profiling/load_table.h"
#include "profiling/policy/select_method.h"
#include "profiling/policy/select_objective.h"
#include "profiling/policy/sweep_plan.h"

namespace evenkeel {
namespace {

constexpr double kMostRun = 0.3;

LoadTable ReadGrid(const std::string& model) {
  std::ifstream file(std::string(EVENKEEL_SOURCE_DIR) + "/bench/tables/grids/" + model + ".json");
  std::stringstream text;
  text << file.rdbuf();
  auto tables = LoadTablesFromJson(text.str());
  EXPECT_TRUE(tables.ok()) << model << ": " << tables.status().ToString();
  return tables.ok() && tables->size() == 1 ? tables->front() : LoadTable{};
}

// The grid that has exactly the table's cells.
SweepPlan::Grid GridOf(const LoadRows& rows) {
  SweepPlan::Grid grid;
  std::set<int> batches;
  for (const LoadRow& row : rows) {
    if (std::ranges::find(grid.shapes, row.cell.shape) == grid.shapes.end())
      grid.shapes.push_back(row.cell.shape);
    batches.insert(row.cell.batch);
  }
  grid.batches.assign(batches.begin(), batches.end());
  return grid;
}

std::string Describe(const LoadRows& rows, const Choice& choice) {
  if (!choice.row) return "do not batch";
  const LoadRow& row = rows[*choice.row];
  return fmt::format("batch {} on {}{}", row.cell.batch, ShapeText(row.cell.shape),
                     choice.met ? "" : ", not met");
}

class RecordedGrid : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    full_ = ReadGrid(GetParam()).rows;
    ASSERT_FALSE(full_.empty());
    SweepPlan::Grid grid = GridOf(full_);
    std::map<Cell, const LoadRow*> recorded;
    for (const LoadRow& row : full_) {
      ASSERT_FALSE(row.implied) << "a full grid has every cell measured";
      recorded[row.cell] = &row;
    }
    std::set<int> cores;
    for (const CellShape& shape : grid.shapes) cores.insert(shape.milli_cores);
    columns_ = cores.size();
    SweepPlan plan(grid);
    ASSERT_EQ(full_.size(), plan.cells());
    while (const auto cell = plan.Next()) plan.Record(*recorded.at(*cell));
    pruned_ = plan.Table();
    measured_ = plan.measured();
  }

  HostSize Host() const { return {2000, int64_t{16} << 30}; }

  LoadRows full_, pruned_;
  size_t measured_ = 0;
  size_t columns_ = 0;  // shapes that differ in more than memory
};

TEST_P(RecordedGrid, AtMostThirtyPercentOfTheCellsAreRun) {
  EXPECT_LE(static_cast<double>(measured_), kMostRun * static_cast<double>(full_.size()));
  RecordProperty("cells_run", static_cast<int>(measured_));
  RecordProperty("cells", static_cast<int>(full_.size()));
  EXPECT_EQ(pruned_.size(), full_.size()) << "every cell is known, measured or implied";
}

// How often each batch size passes A5's rules.
std::map<int, int> Frequencies(const LoadRows& rows, double threshold) {
  std::map<int, int> times;
  for (const LoadRow& row : rows) {
    if (row.outcome == CellOutcome::kOk && row.cell.batch >= 2 && row.ratio() <= threshold)
      ++times[row.cell.batch];
  }
  return times;
}

TEST_P(RecordedGrid, TheMethodChoosesTheSame) {
  const auto levels = static_cast<int>(full_.size() / columns_ / GridOf(full_).batches.size());
  for (const double threshold : {0.5, 0.6, 0.7, 0.8, 0.9}) {
    const Choice of_full = SelectByMethod(full_, threshold, Precision::kF32);
    const Choice of_pruned = SelectByMethod(pruned_, threshold, Precision::kF32);
    auto times = Frequencies(full_, threshold);
    int most = 0, next = 0;
    for (const auto& [batch, count] : times) {
      next = std::max(next, std::min(most, count));
      most = std::max(most, count);
    }
    const std::string what = fmt::format("threshold {}: full {}, pruned {}", threshold,
                                         Describe(full_, of_full), Describe(pruned_, of_pruned));
    // One column more or less is what a curve that lies at the threshold makes.
    const bool decided = most - next > levels || (most == 0);
    if (decided) {
      ASSERT_EQ(of_full.row.has_value(), of_pruned.row.has_value()) << what;
      if (!of_full.row) continue;
      EXPECT_EQ(full_[*of_full.row].cell.batch, pruned_[*of_pruned.row].cell.batch) << what;
    } else if (of_pruned.row) {
      EXPECT_GE(times[pruned_[*of_pruned.row].cell.batch], most - levels) << what;
    } else {
      EXPECT_LE(most, levels) << what;
    }
  }
}

// By what rows may differ that differ in memory alone, and have enough of it: of the spreads (largest over least) the upper quartile.
double ScatterOf(const LoadRows& rows) {
  std::map<std::pair<int, int>, std::vector<double>> same;
  for (const LoadRow& row : rows) {
    if (row.outcome == CellOutcome::kOk && row.cell.shape.memory_bytes >= int64_t{1} << 30)
      same[{row.cell.shape.milli_cores, row.cell.batch}].push_back(row.batch_us);
  }
  std::vector<double> spreads;
  for (auto& [key, times] : same) {
    std::ranges::sort(times);
    spreads.push_back(times.back() / times.front());
  }
  std::ranges::sort(spreads);
  return spreads.empty() ? 1 : spreads[spreads.size() * 3 / 4];
}

TEST_P(RecordedGrid, TheObjectiveChoosesTheSame) {
  const double scatter = ScatterOf(full_);
  RecordProperty("scatter_percent", static_cast<int>(100 * (scatter - 1)));
  std::map<Cell, const LoadRow*> recorded;
  for (const LoadRow& row : full_) recorded[row.cell] = &row;
  for (const double objective_us : {10e3, 20e3, 50e3, 100e3, 500e3}) {
    for (const double rate : {0.0, 10.0, 100.0, 1000.0}) {
      ObjectiveQuery query;
      query.objective_us = objective_us;
      query.rate_per_s = rate;
      query.host = Host();
      const Choice of_full = SelectByObjective(full_, query);
      const Choice of_pruned = SelectByObjective(pruned_, query);
      const std::string what = fmt::format(
          "objective {} ms, {} items/s: full {}, pruned {}, scatter {:.2f}", objective_us / 1e3,
          rate, Describe(full_, of_full), Describe(pruned_, of_pruned), scatter);
      ASSERT_EQ(of_full.row.has_value(), of_pruned.row.has_value()) << what;
      if (!of_full.row) continue;
      const RowPrice best = PriceOf(full_[*of_full.row], query);
      const RowPrice chosen = PriceOf(*recorded.at(pruned_[*of_pruned.row].cell), query);
      if (of_full.met && of_pruned.met) {
        EXPECT_LE(chosen.core_s_per_item, scatter * best.core_s_per_item) << what;
        EXPECT_LE(chosen.latency99_us, scatter * objective_us) << what;
      } else {
        // Met by a hair in the one and not in the other, or in neither.
        EXPECT_LE(chosen.latency99_us, scatter * std::max(objective_us, best.latency99_us)) << what;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DemoModels, RecordedGrid, testing::Values("ctr", "textcnn", "lstm"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace evenkeel
