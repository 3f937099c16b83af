// Full grids that were measured on the demo models (bench/tables/grids), replayed: the pruner runs at most 30 % of the cells, and both
// selectors choose from its table what they choose from the full grid.
//
// A full grid measures one thing many times: where memory is enough, shapes that differ in memory alone are equal, and their rows differ by
// the scatter of the measurement. The pruner measures it once. A choice between rows that are equal but for that scatter is a throw of
// dice for both, so "the same choice" is asked where the full grid's own scatter does not decide:
//   method: the very same batch size, cores and memory (click-through, LSTM). The text CNN's ratio lies at the threshold, and the full grid's
//     own levels of memory choose differently: there one of their choices;
//   objective: the same row, or one that costs little more by the medians over equal shapes, which are the best that is known of them.
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

std::string BatchAndCores(const LoadRows& rows, const Choice& choice) {
  if (!choice.row) return "do not batch";
  const Cell& cell = rows[*choice.row].cell;
  return fmt::format("{} on {}", cell.batch, cell.shape.milli_cores);
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

// Of the rows that differ in memory alone those of one level.
LoadRows AtLevel(const LoadRows& rows, int64_t memory_bytes) {
  LoadRows level;
  std::ranges::copy_if(rows, std::back_inserter(level), [&](const LoadRow& row) {
    return row.cell.shape.memory_bytes == memory_bytes;
  });
  return level;
}

// What the full grid chooses where one level of memory is looked at, each of them; "do not batch" is one, too.
std::set<std::string> ChoicesOfLevels(const LoadRows& rows, double threshold) {
  std::set<int64_t> levels;
  for (const LoadRow& row : rows) levels.insert(row.cell.shape.memory_bytes);
  std::set<std::string> choices;
  for (const int64_t memory : levels) {
    const LoadRows level = AtLevel(rows, memory);
    choices.insert(BatchAndCores(level, SelectByMethod(level, threshold, Precision::kF32)));
  }
  return choices;
}

TEST_P(RecordedGrid, TheMethodChoosesTheSame) {
  const bool apart = std::string_view(GetParam()) != "textcnn";  // from the threshold
  for (const double threshold : {0.5, 0.6, 0.7, 0.8, 0.9}) {
    const Choice of_full = SelectByMethod(full_, threshold, Precision::kF32);
    const Choice of_pruned = SelectByMethod(pruned_, threshold, Precision::kF32);
    const std::string what = fmt::format("threshold {}: full {}, pruned {}", threshold,
                                         Describe(full_, of_full), Describe(pruned_, of_pruned));
    if (apart) {
      EXPECT_EQ(Describe(full_, of_full), Describe(pruned_, of_pruned)) << what;
      continue;
    }
    const auto choices = ChoicesOfLevels(full_, threshold);
    EXPECT_TRUE(choices.contains(BatchAndCores(pruned_, of_pruned)))
        << what << "; the levels choose " << fmt::format("{}", fmt::join(choices, ", "));
    RecordProperty(fmt::format("choices_at_{}", threshold), static_cast<int>(choices.size()));
  }
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// The grid whose rows have the medians of those that differ from them in memory alone and have enough of it.
LoadRows OfMedians(const LoadRows& rows) {
  std::map<std::pair<int, int>, std::vector<const LoadRow*>> same;
  for (const LoadRow& row : rows) {
    if (row.outcome == CellOutcome::kOk)
      same[{row.cell.shape.milli_cores, row.cell.batch}].push_back(&row);
  }
  LoadRows medians = rows;
  for (LoadRow& row : medians) {
    if (row.outcome != CellOutcome::kOk) continue;
    const auto& alike = same.at({row.cell.shape.milli_cores, row.cell.batch});
    for (double LoadRow::*time :
         {&LoadRow::batch_us, &LoadRow::p50_us, &LoadRow::p99_us, &LoadRow::no_batch_us}) {
      std::vector<double> times;
      for (const LoadRow* one : alike) times.push_back(one->*time);
      row.*time = Median(std::move(times));
    }
  }
  return medians;
}

// What a choice may cost more than the best one of the medians: the pruner's rows are single measurements.
constexpr double kDearer = 1.25;

TEST_P(RecordedGrid, TheObjectiveChoosesWhatTheMediansDo) {
  const LoadRows medians = OfMedians(full_);
  std::map<Cell, const LoadRow*> by_cell;
  for (const LoadRow& row : medians) by_cell[row.cell] = &row;
  double worst = 1;
  int same = 0, all = 0;
  for (const double objective_us : {10e3, 20e3, 50e3, 100e3, 500e3}) {
    for (const double rate : {0.0, 10.0, 100.0, 1000.0}) {
      ObjectiveQuery query;
      query.objective_us = objective_us;
      query.rate_per_s = rate;
      query.host = Host();
      const Choice of_medians = SelectByObjective(medians, query);
      const Choice of_pruned = SelectByObjective(pruned_, query);
      const std::string what =
          fmt::format("objective {} ms, {} items/s: medians {}, pruned {}", objective_us / 1e3,
                      rate, Describe(medians, of_medians), Describe(pruned_, of_pruned));
      ASSERT_EQ(of_medians.row.has_value(), of_pruned.row.has_value()) << what;
      if (!of_medians.row) continue;
      ++all;
      same += Describe(medians, of_medians) == Describe(pruned_, of_pruned) ? 1 : 0;
      const RowPrice best = PriceOf(medians[*of_medians.row], query);
      const RowPrice chosen = PriceOf(*by_cell.at(pruned_[*of_pruned.row].cell), query);
      if (of_medians.met && of_pruned.met) {
        EXPECT_LE(chosen.core_s_per_item, kDearer * best.core_s_per_item) << what;
        EXPECT_LE(chosen.latency99_us, kDearer * objective_us) << what;
        worst = std::max(worst, chosen.core_s_per_item / best.core_s_per_item);
      } else {
        // Met by a hair in the one and not in the other, or in neither.
        EXPECT_LE(chosen.latency99_us, kDearer * std::max(objective_us, best.latency99_us)) << what;
      }
    }
  }
  RecordProperty("same_rows_percent", 100 * same / std::max(1, all));
  RecordProperty("dearer_percent", static_cast<int>(100 * (worst - 1)));
}

INSTANTIATE_TEST_SUITE_P(DemoModels, RecordedGrid, testing::Values("ctr", "textcnn", "lstm"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace evenkeel
