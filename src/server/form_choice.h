// What a model's instances of one class are to run on, read from its load table: precision, row, and whether that is worth going over to.
//
// Rules: `method` is A5 (on the processor) and A6 (on an accelerator) to the letter, `objective` ours. Only rows of that class are looked
//   at; of the processor's those of shapes that have as many threads as the operator fixed; of an accelerator's those of the share that
//   the manifest names, else those of the share that the model has and of those that the device has room for beside it: instances are
//   exchanged one by one, the new before the old.
// Contract: without an ok row nothing is decided, and `why` says so. `batch` is Y_batch (1: do not batch). Where A5 says not to
//   batch, the shape is that of the cheapest row of batch 1 by `objective`: the method names none.
// Thread-safety: pure. Source: A5, A6, A7, and the column "precision".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/device_size.h"
#include "core/model_config.h"
#include "profiling/policy/adoption.h"
#include "profiling/policy/choice.h"
#include "profiling/policy/drift.h"
#include "profiling/policy/load_row.h"
#include "profiling/policy/select_objective.h"
#include "profiling/policy/select_precision.h"

namespace evenkeel {

struct FormQuery {
  DeviceClass device = DeviceClass::kCpu;  // kCpu, or kGpu: whose instances
  bool by_method = false;
  double ratio_threshold = 0.8;
  Duration objective{};         // with kGpu also A6's latency threshold
  double rate_per_s = 0;        // forecast; 0: nothing is asked
  HostSize host;                // with its accelerator
  std::optional<Cell> current;  // what the model runs on since it adopted that
  bool sampled = false;         // the table was measured with sampled inputs
  // kCpu
  int64_t least_memory = 0;  // less was too little when it served
  int fixed_threads = 0;     // that the operator asked for; 0: none
  // kGpu
  DeviceSize held;    // what each of its instances has now; 0 cores: there is none
  DeviceSize room;    // of the device, that nobody has
  int instances = 1;  // that are to have a share each
};

struct FormDecision {
  LoadRows rows;  // that were looked at: what `choice` indexes
  PrecisionChoice precision;
  std::string rule, asked;  // "objective", "p99 within 50ms at 120 rows/s"
  Choice choice;
  Adoption adoption;
  std::optional<Cell> cell;  // of the chosen row; its batch is Y_batch
  int batch = 1;             // Y_batch
};

FormDecision DecideForm(const ModelConfig& model, const LoadRows& table, const FormQuery& query);

// Whether `instances` of `share` find room in the place of as many of `held` (0 cores: none), one by one.
bool FitsRoom(const DeviceSize& share, const DeviceSize& held, const DeviceSize& room,
              int instances);

inline DeviceSize DeviceShareOf(const CellShape& shape) {
  return {shape.gpu_cores, shape.gpu_memory_bytes};
}

// T(n) of the ok rows on the cell's shape and in its precision, ascending.
std::vector<TimedSize> TimesOn(const LoadRows& rows, const Cell& cell);

}  // namespace evenkeel
