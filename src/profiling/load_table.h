// The load performance table of one model on one machine, and its text forms.
//
// JSON (schema "evenkeel.load-tables/v1", which `evenkeel simulate --models` reads):
//   {"schema", "models": [{"name", "digest", "machine", "setup", "inputs", "noise", "rows": [{"shape", "cores", "memory_bytes",
//   "batch", "precision", "outcome", "implied", "batchtime_us", "p50_us", "p99_us", "nobatchtime_us", "ratio", "items_per_s",
//   "peak_memory_bytes", "runs", "major_faults"?, "difference_max"?, "difference_mean"?, "detail"?, "gpu_cores"?, "gpu_memory_bytes"?}]}]}
// CSV: one line a row, the same names, model, digest, machine and setup in front; text in quotes where it needs them.
// Thread-safety: values; the functions are thread-safe. Source: A4.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "core/status.h"
#include "profiling/policy/load_row.h"

namespace evenkeel {

// What a table is of. Rows of different keys are never mixed.
struct TableKey {
  std::string model;    // name
  std::string digest;   // of its files; see model_digest.h
  std::string machine;  // fingerprint; see machine.h
  std::string setup;    // rung, device and engine: "cgroup CPU openvino 2026.4"
  auto operator<=>(const TableKey&) const = default;
};

struct LoadTable {
  TableKey key;
  std::string inputs;  // "samples" or "signature": what the batches were made of
  LoadRows rows;
};

// "1c/512MiB", with a GPU "1c/1GiB+gpu:16c/2GiB".
std::string ShapeText(const CellShape& shape);

nlohmann::ordered_json ToJson(std::span<const LoadTable> tables);
std::string ToCsv(std::span<const LoadTable> tables);
// Error kInvalidArgument names the model and row: what ToJson() writes comes back.
Result<std::vector<LoadTable>> LoadTablesFromJson(std::string_view json);

}  // namespace evenkeel
