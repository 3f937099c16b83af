// Random load tables for tests: few distinct values a field, so that ties of every kind occur.
//
// Thread-safety: thread-compatible.
#pragma once

#include <random>

#include "profiling/policy/load_row.h"

namespace evenkeel {

inline LoadRows RandomTable(std::mt19937_64& random) {
  const auto pick = [&](int lo, int hi) {
    return std::uniform_int_distribution<int>(lo, hi)(random);
  };
  LoadRows rows;
  const int count = pick(0, 40);
  for (int i = 0; i < count; ++i) {
    LoadRow row;
    CellShape& shape = row.cell.shape;
    shape.milli_cores = 500 << pick(0, 2);
    shape.memory_bytes = int64_t{256} << (20 + pick(0, 2));
    if (pick(0, 3) == 0) {
      shape.gpu_cores = 8 << pick(0, 2);
      shape.gpu_memory_bytes = int64_t{1} << (28 + pick(0, 3));
    }
    row.cell.batch = 1 << pick(0, 4);
    row.cell.precision = pick(0, 4) == 0 ? Precision::kBf16 : Precision::kF32;
    row.outcome = pick(0, 4) == 0 ? static_cast<CellOutcome>(pick(1, 3)) : CellOutcome::kOk;
    row.implied = pick(0, 1) == 0;
    row.no_batch_us = 100.0 * row.cell.batch;
    row.batch_us = row.no_batch_us * pick(1, 12) / 10;
    row.p50_us = row.batch_us;
    row.p99_us = row.batch_us * pick(10, 15) / 10;
    row.peak_memory_bytes = shape.memory_bytes / pick(1, 4);
    rows.push_back(row);
  }
  return rows;
}

}  // namespace evenkeel
