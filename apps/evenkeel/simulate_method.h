// What `method` takes from the tables of `evenkeel simulate`: the rules of profiling/policy, which the daemon applies to the tables that
// it has measured.
//
// Thread-safety: pure.
#pragma once

#include "batching/policy/batch_curve.h"
#include "sim/load_table.h"

namespace evenkeel {

// A5 over the sizes up to max_batch of one shape of the processor: Y_batch; 1: do not batch. NoBatchtime is taken to be n T(1), which a
// table for the simulator has instead. REQUIRES: curve not empty, 0 < ratio_threshold <= 1.
int BestBatchByMethod(const policy::BatchCurve& curve, int max_batch, double ratio_threshold);

// A6 over all shapes of the accelerator; sets `batch` to Y_batch. Where none keeps the objective the largest shape is taken, and
// `batch` stays. REQUIRES: the table has such shapes.
const sim::GpuKey& GpuShapeByMethod(const sim::ModelTable& table, Duration objective, int* batch);

}  // namespace evenkeel
