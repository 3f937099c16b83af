// Which cells of the grid shapes x batch sizes must be run, and what the others then are.
//
// Use for: the order of a sweep, pruned or full. Not for: running anything (sweep.h).
// Contract: Next() is a function of what was recorded, so a sweep that was interrupted goes on where it stopped, whatever the order
//   its rows come back in. Table() has every cell of the grid whose result is known, measured or implied, in the order of the grid:
//   shapes as given, sizes ascending, precisions f32 first.
// What implies what, on shapes that differ in memory alone (a "column"; the sizes ascend, the memory climbs like a staircase):
//   - out of memory at (memory, size) implies the same at less memory, at larger sizes and at more cores;
//   - a time measured at some memory stands for all larger memories, unless the container was close to its limit (peak at least
//     kTightShare of it): then one size is run at the next memory too, and if that is faster by more than kTightGain all are; and unless it
//     holds waiting for the disk (a page read in one of kFaultyRuns runs or more: mapped weights that do not stay in this memory, or came for the first time):
//     then that size is always run at the next memory;
//   - a time-out at a size implies time-outs at larger sizes; an error implies itself at larger memories.
//   Every curve is so measured where it is cheapest in memory, which is where the selectors look.
// Thread-safety: thread-compatible. Source: A4 (pruning, marked; its choice is the full grid's).
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "profiling/policy/load_row.h"

namespace evenkeel {

class SweepPlan {
 public:
  static constexpr double kTightShare = 0.9;
  static constexpr int kFaultyRuns = 10;
  static constexpr double kTightGain = 0.2;  // as select_objective.h counts memory that pays

  struct Grid {
    std::vector<CellShape> shapes;
    std::vector<int> batches;  // ascending
    std::vector<Precision> precisions{Precision::kF32};
    bool full = false;  // every cell is run
  };

  explicit SweepPlan(Grid grid);

  // Of cells outside the grid and implied rows nothing is kept.
  void Record(const LoadRow& row);
  // The cell to run next; nullopt: all is known.
  std::optional<Cell> Next() const;
  LoadRows Table() const;

  size_t cells() const;                             // of the grid
  size_t measured() const { return rows_.size(); }  // recorded
  // Cells that will have been run in the end, as far as that can be told now: for a progress bar.
  size_t expected() const;

 private:
  // Shapes that differ in memory alone, least memory first.
  struct Column {
    std::vector<CellShape> levels;
  };
  struct Walk;

  const LoadRow* Find(const CellShape& shape, int batch, Precision precision) const;
  Walk WalkColumn(const Column& column, Precision precision, size_t first_level) const;
  // One a column, up to the first that is not known to its end.
  std::vector<Walk> WalkAll(Precision precision) const;
  // Asks for the next level's rows where containers were close to their limit.
  void LookAbove(const Column& column, Precision precision, Walk* walk) const;
  std::optional<LoadRow> Implied(const Column& column, size_t level, const Walk& walk, size_t batch,
                                 Precision precision) const;

  Grid grid_;
  std::vector<Column> columns_;  // fewest cores first
  std::map<Cell, LoadRow> rows_;
};

}  // namespace evenkeel
