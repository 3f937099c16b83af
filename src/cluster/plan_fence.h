// Which plans a node takes: only forward. A leader that was cut off and comes back, a store that was put back to an older state, an answer that was
// long under way: what they bring is older than what was taken, and is refused.
//
// Contract: pure. The order is PlanStamp's: history, term, revision.
// Thread-safety: thread-compatible.
#pragma once

#include "cluster/stored_plan.h"
#include "core/format.h"
#include "core/status.h"

namespace evenkeel {

class PlanFence {
 public:
  // `last`: of the plan on disk; {} for none.
  explicit PlanFence(PlanStamp last = {}) : last_(last) {}

  // True: newer, and from now on the last. False: the last once more. kConflict: older; kInvalidArgument: a stamp that no stored plan has.
  Result<bool> Offer(const PlanStamp& stamp) {
    if (stamp.term.revision <= 0 || stamp.revision < stamp.term.revision || stamp.term.history < 0)
      return InvalidArgument("a plan with {} was never stored", ToText(stamp));
    if (stamp == last_) return false;
    if (stamp < last_)
      return Conflict("a plan with {} is older than the last one, with {}", ToText(stamp),
                      ToText(last_));
    last_ = stamp;
    return true;
  }

  const PlanStamp& last() const { return last_; }

 private:
  PlanStamp last_;
};

}  // namespace evenkeel
