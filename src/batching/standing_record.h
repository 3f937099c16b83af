// What the node's scheduler keeps of a language model.
//
// Not for use outside node_scheduler*.cc. Thread-safety: guarded by the scheduler's mutex.
#pragma once

#include <algorithm>
#include <deque>

#include "batching/node_scheduler.h"

namespace evenkeel {

struct NodeScheduler::Standing {
  StandingMember* member = nullptr;  // null: free
  StandingNeed need;
  int target = 0;        // cores that it is to have
  int granted = 0;       // of them, those that it may have now; what its worker is told next
  int confirmed = 0;     // what its worker holds to
  std::deque<int> told;  // and has not confirmed yet
  int calls = 0;         // of CoresChanged() that are due or under way

  // What it may be using until all was confirmed.
  int held() const {
    int most = std::max(granted, confirmed);
    for (const int one : told) most = std::max(most, one);
    return most;
  }
};

}  // namespace evenkeel
