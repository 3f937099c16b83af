#include "profiling/policy/sweep_plan.h"

#include <algorithm>
#include <utility>

namespace evenkeel {
namespace {

// A column is of GPU memory where the shapes have a GPU: their own memory is the same then.
int64_t MemoryOf(const CellShape& shape) {
  return shape.gpu() ? shape.gpu_memory_bytes : shape.memory_bytes;
}

CellShape WithoutMemory(CellShape shape) {
  (shape.gpu() ? shape.gpu_memory_bytes : shape.memory_bytes) = 0;
  return shape;
}

bool Tight(const LoadRow& row) {
  return !row.cell.shape.gpu() && row.peak_memory_bytes > 0 &&
         static_cast<double>(row.peak_memory_bytes) >=
             SweepPlan::kTightShare * static_cast<double>(row.cell.shape.memory_bytes);
}

// Its times are not the model's, but those of its files in too little memory.
bool WaitsForDisk(const LoadRow& row) {
  return !row.cell.shape.gpu() && row.outcome == CellOutcome::kOk && row.major_faults > 0 &&
         row.major_faults * SweepPlan::kFaultyRuns >= row.runs;
}

constexpr size_t kNoLevel = SIZE_MAX;

}  // namespace

// How far the measured rows lead through one column.
struct SweepPlan::Walk {
  std::optional<Cell> missing;  // the first cell that must be run before it goes on
  std::vector<size_t>
      level;  // a batch size: the least level that is not out of memory; levels.size(): none
  size_t timeout_from = kNoLevel;  // index of the first size that timed out
  size_t known = 0;                // sizes whose level is known
};

SweepPlan::SweepPlan(Grid grid) : grid_(std::move(grid)) {
  std::ranges::sort(grid_.batches);
  grid_.batches.erase(std::unique(grid_.batches.begin(), grid_.batches.end()), grid_.batches.end());
  std::vector<CellShape> sorted = grid_.shapes;
  std::ranges::sort(sorted, [](const CellShape& a, const CellShape& b) {
    return std::pair(WithoutMemory(a), MemoryOf(a)) < std::pair(WithoutMemory(b), MemoryOf(b));
  });
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  for (const CellShape& shape : sorted) {
    if (columns_.empty() || WithoutMemory(columns_.back().levels.front()) != WithoutMemory(shape)) {
      columns_.emplace_back();
    }
    columns_.back().levels.push_back(shape);
  }
}

void SweepPlan::Record(const LoadRow& row) {
  const bool inside =
      std::ranges::find(grid_.shapes, row.cell.shape) != grid_.shapes.end() &&
      std::ranges::binary_search(grid_.batches, row.cell.batch) &&
      std::ranges::find(grid_.precisions, row.cell.precision) != grid_.precisions.end();
  if (inside && !row.implied) rows_[row.cell] = row;
}

const LoadRow* SweepPlan::Find(const CellShape& shape, int batch, Precision precision) const {
  const auto at = rows_.find(Cell{shape, batch, precision});
  return at == rows_.end() ? nullptr : &at->second;
}

// Sizes ascend; where one is out of memory the next level is tried.
SweepPlan::Walk SweepPlan::WalkColumn(const Column& column, Precision precision,
                                      size_t first_level) const {
  Walk walk;
  walk.level.assign(grid_.batches.size(), column.levels.size());
  size_t level = first_level;
  for (size_t b = 0; b < grid_.batches.size(); ++b) {
    const LoadRow* row = nullptr;
    for (; level < column.levels.size(); ++level) {
      row = Find(column.levels[level], grid_.batches[b], precision);
      if (row == nullptr) {
        walk.missing = Cell{column.levels[level], grid_.batches[b], precision};
        return walk;
      }
      if (row->outcome != CellOutcome::kOom) break;
    }
    walk.level[b] = level;
    walk.known = b + 1;
    if (level == column.levels.size()) break;
    if (row->outcome == CellOutcome::kTimeout) {
      walk.timeout_from = b;
      for (size_t rest = b; rest < walk.level.size(); ++rest) walk.level[rest] = level;
      break;
    }
  }
  walk.known = grid_.batches.size();
  LookAbove(column, precision, &walk);
  return walk;
}

void SweepPlan::LookAbove(const Column& column, Precision precision, Walk* walk) const {
  const auto need = [&](size_t level, size_t b) {
    const LoadRow* row = Find(column.levels[level], grid_.batches[b], precision);
    if (row == nullptr) walk->missing = Cell{column.levels[level], grid_.batches[b], precision};
    return row;
  };
  for (size_t level = 0; level + 1 < column.levels.size(); ++level) {
    std::vector<size_t> tight;
    for (size_t b = 0; b < grid_.batches.size(); ++b) {
      const LoadRow* row = Find(column.levels[level], grid_.batches[b], precision);
      if (row == nullptr || row->outcome != CellOutcome::kOk) continue;
      if (WaitsForDisk(*row) && need(level + 1, b) == nullptr) return;
      if (Tight(*row)) tight.push_back(b);
    }
    if (tight.empty()) continue;
    const LoadRow* below = Find(column.levels[level], grid_.batches[tight.back()], precision);
    const LoadRow* above = need(level + 1, tight.back());
    if (above == nullptr) return;
    if (above->outcome != CellOutcome::kOk ||
        above->batch_us >= (1 - kTightGain) * below->batch_us) {
      continue;
    }
    for (const size_t b : tight) {
      if (need(level + 1, b) == nullptr) return;
    }
  }
}

std::vector<SweepPlan::Walk> SweepPlan::WalkAll(Precision precision) const {
  std::vector<Walk> walks;
  if (grid_.batches.empty()) return walks;
  int64_t least_memory = 0;  // that the smallest size needed on fewer cores
  for (const Column& column : columns_) {
    size_t first = 0;
    while (first < column.levels.size() && !column.levels[first].gpu() &&
           MemoryOf(column.levels[first]) < least_memory) {
      ++first;
    }
    walks.push_back(WalkColumn(column, precision, first));
    const Walk& walk = walks.back();
    if (walk.missing) break;
    if (column.levels.front().gpu()) continue;
    least_memory = walk.level.front() < column.levels.size()
                       ? MemoryOf(column.levels[walk.level.front()])
                       : MemoryOf(column.levels.back()) + 1;
  }
  return walks;
}

std::optional<Cell> SweepPlan::Next() const {
  for (const Precision precision : grid_.precisions) {
    if (!grid_.full) {
      const std::vector<Walk> walks = WalkAll(precision);
      if (!walks.empty() && walks.back().missing) return walks.back().missing;
      continue;
    }
    for (const Column& column : columns_) {
      for (const CellShape& shape : column.levels) {
        for (const int batch : grid_.batches) {
          if (Find(shape, batch, precision) == nullptr) return Cell{shape, batch, precision};
        }
      }
    }
  }
  return std::nullopt;
}

std::optional<LoadRow> SweepPlan::Implied(const Column& column, size_t level, const Walk& walk,
                                          size_t batch, Precision precision) const {
  LoadRow row;
  row.cell = Cell{column.levels[level], grid_.batches[batch], precision};
  row.implied = true;
  if (level < walk.level[batch]) {
    row.outcome = CellOutcome::kOom;
    row.detail = "implied: less does not fit into this";
    return row;
  }
  if (batch >= walk.timeout_from) {
    row.outcome = CellOutcome::kTimeout;
    row.detail = "implied: a smaller batch took too long";
    return row;
  }
  for (size_t below = level + 1; below-- > 0;) {
    const LoadRow* measured = Find(column.levels[below], grid_.batches[batch], precision);
    if (measured == nullptr) continue;
    // With more memory it may be another figure: that is still to be measured.
    if (below < level && WaitsForDisk(*measured)) return std::nullopt;
    const Cell cell = row.cell;
    row = *measured;
    row.cell = cell;
    row.implied = true;
    return row;
  }
  return std::nullopt;
}

LoadRows SweepPlan::Table() const {
  std::map<Cell, LoadRow> known = rows_;
  for (const Precision precision : grid_.precisions) {
    if (grid_.full) break;
    const std::vector<Walk> walks = WalkAll(precision);
    for (size_t c = 0; c < walks.size(); ++c) {
      for (size_t b = 0; b < walks[c].known; ++b) {
        for (size_t level = 0; level < columns_[c].levels.size(); ++level) {
          if (const auto row = Implied(columns_[c], level, walks[c], b, precision))
            known.emplace(row->cell, *row);
        }
      }
    }
  }
  LoadRows table;
  for (const CellShape& shape : grid_.shapes) {
    for (const int batch : grid_.batches) {
      for (const Precision precision : grid_.precisions) {
        const auto at = known.find(Cell{shape, batch, precision});
        if (at != known.end()) table.push_back(at->second);
      }
    }
  }
  return table;
}

size_t SweepPlan::cells() const {
  return grid_.shapes.size() * grid_.batches.size() * grid_.precisions.size();
}

size_t SweepPlan::expected() const {
  if (grid_.full) return cells();
  const size_t least = columns_.size() * grid_.batches.size() * grid_.precisions.size();
  size_t oom = 0;
  for (const auto& [cell, row] : rows_) oom += row.outcome == CellOutcome::kOom;
  return std::max(rows_.size() + (Next() ? 1 : 0), std::min(cells(), least + oom));
}

}  // namespace evenkeel
