// An engine for tests: what it computes, how long it takes and how it fails are written in a YAML file, `x.fake`.
//
//   inputs:  [{name: x, dtype: FP32, shape: [-1, 4], range: [0, 9]}]   # range: optional
//   outputs: [{name: y, dtype: FP32, shape: [-1, 4], function: echo, input: x}]
//   delay_us: {fixed: 1000, per_row: 50, mode: sleep, on: all}          # mode: sleep (default) or busy; on: all (default), or cpu:
//                                                                       # none of it where the device is an emulated one
//   throw_on: 13      # an input element with this value: Run throws
//   error_on: 14      # Run returns kInvalidArgument
//   abort_on: 15      # the process aborts
//   hang_on: 16       # Run never returns
//   grow_on: 17       # from this run on the process holds `grow_mib` more memory, as one that leaks; more than its shape and it is killed
//   grow_mib: 256     # the default; 1 to 1,048,576
//   runaway_on: 18    # from this run on two threads of the process do nothing but take core time
//   slow_load_ms: 200
//   fail_load: "why"  # Load answers kInvalidArgument
// Functions: echo (the input as it is, BYTES too), row_sum (one number a row), batch_rows (each row says how many rows its batch
//   had: shows batching to a test), count (one number a row, always the number of runs before this one).
// An empty file is x: FP32 [-1,4] → y: echo. Rows lie along axis 0. BYTES elements match a marker by their decimal text.
// Thread-safety: as Engine.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace evenkeel {

std::unique_ptr<Engine> MakeFakeEngine();

}  // namespace evenkeel
