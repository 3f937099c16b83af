// Which plans a node takes: only forward. A leader that was cut off and comes back, a store that was put back to an older state, an answer that was
// long under way: what they bring is older than what was taken, and is refused.
//
// Offer() is for plans that were read from the store, and moves the fence. Check() is for what says to come from a plan, and moves nothing: a stamp is three numbers that anybody can write, and a
// large one that was believed would shut out every true one after it.
// Contract: pure. The order is PlanStamp's: history, term, revision.
// Thread-safety: thread-compatible.
#pragma once

#include <utility>

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
    EK_RETURN_IF_ERROR(CheckAge(stamp));
    return std::exchange(last_, stamp) != stamp;
  }

  // Ok: it is the last plan's. Errors: as Offer(); kUnavailable: newer than the last, so that nobody here has read such a plan from the store, or not yet.
  Status Check(const PlanStamp& stamp) const {
    EK_RETURN_IF_ERROR(CheckAge(stamp));
    if (stamp == last_) return Status::Ok();
    return Unavailable(
        "a plan with {} is not known here: {}", ToText(stamp),
        last_ == PlanStamp()
            ? std::string("the store has told this node of none")
            : fmt::format("the newest that the store has told this node of has {}", ToText(last_)));
  }

  const PlanStamp& last() const { return last_; }

 private:
  Status CheckAge(const PlanStamp& stamp) const {
    if (stamp.term.revision <= 0 || stamp.revision < stamp.term.revision || stamp.term.history < 0)
      return InvalidArgument("a plan with {} was never stored", ToText(stamp));
    if (stamp < last_)
      return Conflict("a plan with {} is older than the last one, with {}", ToText(stamp),
                      ToText(last_));
    return Status::Ok();
  }

  PlanStamp last_;
};

}  // namespace evenkeel
