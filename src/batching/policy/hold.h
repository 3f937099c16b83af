// How long the oldest waiting row may be held back for a larger batch.
//
// With n the target, lambda the forecast rows a second, w what waits, D the deadline of the lane (the earliest one of its rows, and
// no later than its oldest arrival + the objective):
//   end = min( oldest + s n / lambda,  D - p99 T(min(n, w + 1)) - p99 of the wait for a core )
//   and the hold is over at once when nothing more is expected: lambda * (end - now) < 0.5, or when nothing arrived for 3/lambda.
// Contract: HoldEnd() <= D - p99 T - core wait, whatever the forecast says (property test): a wrong forecast costs
//   efficiency, not deadlines. Pure. Units: rows, seconds. Thread-safety: thread-safe. Source: "The window, ours", A10.
#pragma once

#include "batching/policy/node_policy.h"

namespace evenkeel::policy {

struct HoldInput {
  int64_t waiting_rows = 0;
  Time oldest_arrival{};
  Time deadline = kNever;  // D
  Time last_arrival{};     // of any row of the model
  int target = 1;          // n
  double rate_rps = 0;     // lambda, rows
  Duration core_wait{};    // p99
  double stretch = 1;      // s
};

// When the hold ends; <= now: it is over. REQUIRES: curve not empty, target >= 1.
Time HoldEnd(const HoldInput& input, const BatchCurve& curve, Time now);

// The lane's D.
inline Time SoftDeadline(const LaneView& lane, Duration objective) {
  return std::min(lane.earliest_deadline, lane.oldest_arrival + objective);
}

}  // namespace evenkeel::policy
