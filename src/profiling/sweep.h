// Runs the cells of a plan one after the other.
//
// Contract: RunSweep() asks the plan for the next cell until there is none; each row is recorded in the plan and given to `on_row`
//   before the next begins, so that what is finished is never lost. A cell that ends badly is a row; only what makes all further
//   cells pointless (a model that cannot be loaded at all, Ctrl-C) is an error, with the finished rows kept.
// Thread-safety: blocks; single-owner. Source: A4.
#pragma once

#include <functional>

#include "core/status.h"
#include "profiling/policy/sweep_plan.h"

namespace evenkeel {

class CellRunner {
 public:
  virtual ~CellRunner() = default;
  // Blocks for as long as the cell takes. Error: see above; kCancelled when interrupted.
  virtual Result<LoadRow> Run(const Cell& cell) = 0;
};

// `on_start` and `on_row` may be null. An error of on_row (the row could not be kept) does not end the sweep: it is on_row's to tell.
Status RunSweep(SweepPlan* plan, CellRunner& runner,
                const std::function<void(const Cell&)>& on_start,
                const std::function<void(const LoadRow&)>& on_row);

}  // namespace evenkeel
