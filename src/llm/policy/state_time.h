// How long a worker may be busy with states of sequences between two steps: what others' tokens wait for it; each way.
//
// Half of what the last step of answers took: tokens come at two thirds of their pace at worst while a state goes or comes, and it is through within a step or two instead of one half of the channel a
//   step. At most kMostStateTime: where steps are long there is time enough, and what the daemon wants of the worker does not wait.
// Contract: zero where nobody waits for a token; then a turn is what the channel takes at once. Thread-safety: pure. Source: B8.
#pragma once

#include <algorithm>

#include "core/clock.h"

namespace evenkeel {

inline constexpr Duration kMostStateTime = std::chrono::milliseconds(50);

// `step`: what the last step of answers took; zero: it had none.
constexpr Duration StateTime(Duration step) {
  return std::clamp(step / 2, Duration::zero(), kMostStateTime);
}

}  // namespace evenkeel
