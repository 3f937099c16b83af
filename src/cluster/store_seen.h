// Whether a store has been put back to an older state (a restored backup, an emptied disk), by what was seen of it before.
//
// In a store that only goes forward the revision, the leader's term and the plan's stamp never fall. One that fell means that what nodes hold may be newer than
// what the store says: plans made from it would be wrong, though their numbers may grow past the old ones. So the history is counted up, and only terms of
// the new history count (stored_plan.h).
// Contract: pure. A store that has passed all that was seen before cannot be told from one that only went forward.
// Thread-safety: thread-compatible.
#pragma once

#include <algorithm>
#include <string>

#include "cluster/store_table.h"
#include "core/format.h"

namespace evenkeel {

class StoreSeen {
 public:
  // `floor`: of the last plan that this node accepted, from its disk.
  explicit StoreSeen(const PlanStamp& floor)
      : history_(floor.term.history),
        revision_(floor.revision),
        term_(floor.term.revision),
        plan_(floor) {}

  int64_t history() const { return history_; }

  // Why it has; empty: it has not. REQUIRES: `table` was just read.
  std::string WentBack(const StoreTable& table) const {
    if (table.history() > history_) return "";
    if (table.history() < history_)
      return fmt::format("its history is {}, and was {}", table.history(), history_);
    if (table.revision() < revision_)
      return fmt::format("its revision is {}, and was {}", table.revision(), revision_);
    if (const auto leader = table.leader(); leader && leader->term.revision < term_)
      return fmt::format("its leader's term is {}, and was {}", leader->term.revision, term_);
    // After the history was counted up the store holds the old one's plan until a new leader stores one.
    if (plan_.term.history == history_ && table.plan() != nullptr && table.plan()->stamp < plan_)
      return fmt::format("its plan has {}, and had {}", ToText(table.plan()->stamp), ToText(plan_));
    return "";
  }

  // REQUIRES: WentBack(table) was empty when it was read.
  void Note(const StoreTable& table) {
    if (table.history() > history_) {
      history_ = table.history();
      revision_ = term_ = 0;
    }
    revision_ = std::max(revision_, table.revision());
    if (const auto leader = table.leader()) term_ = std::max(term_, leader->term.revision);
    if (table.plan() != nullptr) plan_ = std::max(plan_, table.plan()->stamp);
  }

 private:
  int64_t history_;
  int64_t revision_;
  int64_t term_;
  PlanStamp plan_;
};

}  // namespace evenkeel
