// The method's own rules for choosing a row, to the letter.
//
// CPU (A5): of the rows with batch >= 2, outcome ok and Batchtime / NoBatchtime <= threshold, those whose batch size appears most
//   often (equally often: the largest; implied rows count); of those the least container memory, then the fewest cores, then the
//   lowest Batchtime, then the first in the table. Nothing left: do not batch.
// GPU (A6): of the rows with outcome ok, mean latency of a batch <= `latency_us` and a device memory <= `gpu_memory_bytes`, the
//   largest batch; equal ones: least device memory, then fewest GPU cores, then the first in the table.
// Both look at rows of their own class and of one precision only.
// The claim leaves open in which direction the ratio is compared; "at most" is our reading: batching must pay.
// Thread-safety: pure. Source: CN113902116B, A5, A6, A7.
#pragma once

#include <cstdint>
#include <limits>

#include "profiling/policy/choice.h"
#include "profiling/policy/load_row.h"

namespace evenkeel {

inline constexpr double kDefaultRatioThreshold = 0.8;

// REQUIRES: 0 < threshold <= 1.
Choice SelectByMethod(const LoadRows& rows, double threshold, Precision precision);

struct GpuThresholds {
  double latency_us = std::numeric_limits<double>::infinity();
  int64_t gpu_memory_bytes = std::numeric_limits<int64_t>::max();
};
Choice SelectGpuByMethod(const LoadRows& rows, const GpuThresholds& thresholds,
                         Precision precision);

}  // namespace evenkeel
