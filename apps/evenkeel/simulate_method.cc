#include "simulate_method.h"

#include <vector>

#include "profiling/policy/select_method.h"

namespace evenkeel {

int BestBatchByMethod(const policy::BatchCurve& curve, int max_batch, double ratio_threshold) {
  const double one_us = Seconds(curve.Mean(1)) * 1e6;
  LoadRows rows;
  for (const auto& point : curve.points()) {
    if (point.rows > max_batch) continue;
    LoadRow& row = rows.emplace_back();
    row.cell.batch = point.rows;
    row.batch_us = point.mean_ns / 1e3;
    row.no_batch_us = one_us * point.rows;
  }
  const Choice choice = SelectByMethod(rows, ratio_threshold, Precision::kF32);
  return choice.row ? rows[*choice.row].cell.batch : 1;
}

const sim::GpuKey& GpuShapeByMethod(const sim::ModelTable& table, Duration objective, int* batch) {
  LoadRows rows;
  std::vector<const sim::GpuKey*> keys;
  for (const auto& [key, service] : table.by_gpu) {
    for (const auto& point : service.curve().points()) {
      LoadRow& row = rows.emplace_back();
      row.cell.shape.gpu_cores = key.cores;
      row.cell.shape.gpu_memory_bytes = key.memory_bytes;
      row.cell.batch = point.rows;
      row.batch_us = point.mean_ns / 1e3;
      keys.push_back(&key);
    }
  }
  GpuThresholds thresholds;
  thresholds.latency_us = Seconds(objective) * 1e6;
  const Choice choice = SelectGpuByMethod(rows, thresholds, Precision::kF32);
  // None keeps the threshold: the largest shape, one by one.
  if (!choice.row) return table.by_gpu.rbegin()->first;
  *batch = rows[*choice.row].cell.batch;
  return *keys[*choice.row];
}

}  // namespace evenkeel
