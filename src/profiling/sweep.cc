#include "profiling/sweep.h"

#include "core/check.h"

namespace evenkeel {

Status RunSweep(SweepPlan* plan, CellRunner& runner,
                const std::function<void(const Cell&)>& on_start,
                const std::function<void(const LoadRow&)>& on_row) {
  while (const auto cell = plan->Next()) {
    if (on_start) on_start(*cell);
    auto row = runner.Run(*cell);
    if (!row.ok()) return row.status();
    const size_t before = plan->measured();
    plan->Record(*row);
    EK_CHECK(plan->measured() == before + 1);  // else this would never end
    if (on_row) on_row(*row);
  }
  return Status::Ok();
}

}  // namespace evenkeel
