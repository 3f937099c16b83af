// Load tables as the simulator's model of service: how long a batch takes, and how that scatters.
//
// Format (JSON):
//   {"schema": "evenkeel.load-tables/v1", "machine": {...}, "models": [
//     {"name": "ctr", "objective_ms": 20, "noise": "lognormal", "rows": [
//       {"cores": 1, "batch": 1, "batchtime_us": 131.0, "p99_us": 150.0, "outcome": "ok"}, ...]}]}
//   `outcome` may be left out; rows that are not "ok", are of a part of a core or of another precision than f32 are passed over; of rows with
//   equal cores and batch (shapes that differ in memory) the last counts. A row with `gpu_cores` and `gpu_memory_bytes` is of a share of
//   an accelerator and belongs to that shape alone. `noise`: "lognormal" (default) or "none".
// Service: a batch of n rows on a shape of k cores takes Mean(n) * X, X lognormal with mean 1 and the 99th percentile that the row
//   of that size has over its mean; between sizes interpolated like the mean (policy/batch_curve.h).
// Errors: kInvalidArgument names model, row and field; kNotFound a shape that the table does not have.
// Thread-safety: values.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "batching/policy/batch_curve.h"
#include "core/status.h"
#include "sim/random.h"

namespace evenkeel::sim {

class ServiceTimes {
 public:
  ServiceTimes() = default;
  ServiceTimes(policy::BatchCurve curve, bool noise) : curve_(curve), noise_(noise) {}

  Duration Draw(int rows, Random& random) const;
  const policy::BatchCurve& curve() const { return curve_; }
  int largest_batch() const { return curve_.points().back().rows; }

 private:
  policy::BatchCurve curve_;
  bool noise_ = true;
};

// A share of an accelerator.
struct GpuKey {
  int cores = 0;
  int64_t memory_bytes = 0;
  auto operator<=>(const GpuKey&) const = default;
};

struct ModelTable {
  std::string name;
  Duration objective{};                  // 0: the table has none
  std::map<int, ServiceTimes> by_cores;  // threads of an instance on the processor
  std::map<GpuKey, ServiceTimes> by_gpu;
};

Result<std::vector<ModelTable>> ParseLoadTables(std::string_view json, std::string_view name);

}  // namespace evenkeel::sim
