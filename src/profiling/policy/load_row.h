// One row of a load performance table: what a batch of so many items costs on a container of one shape.
//
// Units: memory in bytes, cores in thousandths, times in microseconds (as the exported formats have them).
// Contract: the figures of a row mean something only where outcome is kOk; an implied row was not run: its figures are those of the
//   measured row that implies it.
// Thread-safety: values. Source: A4.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/model_config.h"

namespace evenkeel {

enum class CellOutcome : uint8_t { kOk, kOom, kTimeout, kError };
std::string_view NameOf(CellOutcome outcome);                    // "ok", "oom", "timeout", "error"
bool ParseOutcome(std::string_view text, CellOutcome* outcome);  // false: none of these
inline std::string_view NameOf(Precision precision) {
  return precision == Precision::kBf16 ? "bf16" : "f32";
}

// What a container has. For one that uses a GPU also the part of the device.
struct CellShape {
  int milli_cores = 1000;
  int64_t memory_bytes = 0;
  int gpu_cores = 0;  // 0: no GPU
  int64_t gpu_memory_bytes = 0;

  bool gpu() const { return gpu_cores > 0; }
  auto operator<=>(const CellShape&) const = default;
};

struct Cell {
  CellShape shape;
  int batch = 1;
  Precision precision = Precision::kF32;
  auto operator<=>(const Cell&) const = default;
};

struct LoadRow {
  Cell cell;
  CellOutcome outcome = CellOutcome::kOk;
  bool implied = false;
  double batch_us = 0;  // Batchtime: mean wall time of a batch, batches one behind the other
  double p50_us = 0, p99_us = 0;  // of the same runs
  double no_batch_us = 0;         // NoBatchtime: the same items one by one in the same container
  int64_t peak_memory_bytes = 0;  // of the container since its start; 0: not known
  int64_t runs = 0;               // of the batch, that the figures come from
  int64_t major_faults = 0;       // pages that were read from the disk during these runs
  // bf16 against f32 on the same inputs, over all outputs' elements; below 0: not compared.
  double diff_max = -1, diff_mean = -1;
  std::string detail;  // why it is not ok; else empty

  double ratio() const { return no_batch_us > 0 ? batch_us / no_batch_us : 1; }
  double items_per_s() const { return batch_us > 0 ? cell.batch * 1e6 / batch_us : 0; }
};

using LoadRows = std::vector<LoadRow>;

}  // namespace evenkeel
