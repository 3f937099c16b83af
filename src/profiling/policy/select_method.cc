#include "profiling/policy/select_method.h"

#include <fmt/format.h>

#include <map>

#include "profiling/policy/sieve.h"

namespace evenkeel {

Choice SelectByMethod(const LoadRows& rows, double threshold, Precision precision) {
  Choice choice;
  Sieve sieve(rows, &choice);
  sieve.Apply(fmt::format("CPU rows in {}", NameOf(precision)), [&](const LoadRow& row) {
    return !row.cell.shape.gpu() && row.cell.precision == precision;
  });
  sieve.Apply("outcome ok", [](const LoadRow& row) { return row.outcome == CellOutcome::kOk; });
  sieve.Apply("batch of 2 or more", [](const LoadRow& row) { return row.cell.batch >= 2; });
  sieve.Apply(fmt::format("Batchtime / NoBatchtime at most {}", threshold),
              [&](const LoadRow& row) { return row.ratio() <= threshold; });
  if (sieve.empty()) {
    choice.why =
        fmt::format("do not batch: no batch takes at most {} of its items one by one", threshold);
    return choice;
  }
  std::map<int, size_t> times;
  for (const size_t i : sieve.left()) ++times[rows[i].cell.batch];
  int frequent = 0;
  for (const auto& [batch, count] : times) {
    if (frequent == 0 || count >= times[frequent]) frequent = batch;
  }
  sieve.Apply(fmt::format("the batch size that appears most often ({}, in {} rows)", frequent,
                          times[frequent]),
              [&](const LoadRow& row) { return row.cell.batch == frequent; });
  sieve.Least("least container memory", [](const LoadRow& r) { return r.cell.shape.memory_bytes; });
  sieve.Least("fewest cores", [](const LoadRow& r) { return r.cell.shape.milli_cores; });
  sieve.Least("lowest Batchtime", [](const LoadRow& r) { return r.batch_us; });
  sieve.Win();
  choice.why = fmt::format(
      "batch size {} passes the threshold most often, on this shape with the "
      "least memory and cores",
      frequent);
  return choice;
}

Choice SelectGpuByMethod(const LoadRows& rows, const GpuThresholds& thresholds,
                         Precision precision) {
  Choice choice;
  Sieve sieve(rows, &choice);
  sieve.Apply(fmt::format("GPU rows in {}", NameOf(precision)), [&](const LoadRow& row) {
    return row.cell.shape.gpu() && row.cell.precision == precision;
  });
  sieve.Apply("outcome ok", [](const LoadRow& row) { return row.outcome == CellOutcome::kOk; });
  sieve.Apply(fmt::format("a batch takes at most {:.0f} µs", thresholds.latency_us),
              [&](const LoadRow& row) { return row.batch_us <= thresholds.latency_us; });
  sieve.Apply(fmt::format("device memory of at most {} bytes", thresholds.gpu_memory_bytes),
              [&](const LoadRow& row) {
                return row.cell.shape.gpu_memory_bytes <= thresholds.gpu_memory_bytes;
              });
  if (sieve.empty()) {
    choice.why = "no row of a GPU shape meets the thresholds";
    return choice;
  }
  sieve.Least("largest batch", [](const LoadRow& r) { return -r.cell.batch; });
  sieve.Least("least device memory",
              [](const LoadRow& r) { return r.cell.shape.gpu_memory_bytes; });
  sieve.Least("fewest GPU cores", [](const LoadRow& r) { return r.cell.shape.gpu_cores; });
  sieve.Win();
  choice.why = fmt::format("{} is the largest batch that meets the thresholds",
                           rows[*choice.row].cell.batch);
  return choice;
}

}  // namespace evenkeel
