// Decides when the rows of one lane become the next batch of one instance, for the rules `none`, `greedy` and `fixed`.
//
// Use for: a dispatcher whose model has a rule of its own, and the node policies of the same names (at_will.cc): one rule for
//   both, so that what is simulated is what is served. Not for: choosing among lanes or models.
// Rules: none: the request at the head, alone. greedy (also for kAuto, where a node's policy decides all else): what waits
//   when the instance is idle; max_rows also while it runs one. fixed: max_rows; when it is idle a preferred size that is reached, or
//   what waits from
//     min(oldest arrival + max_delay, earliest deadline - max(2 mean T, p99 T)) on, T being that of what waits.
// Contract: Decide() has no state, clock, lock or log; the same arguments give the same answer. `rows` is 0 (wait) or 1 to
//   min(waiting_rows, max_rows), but for `none` the head's. When it is 0 and the answer could change by time alone, wake_at says
//   when to ask again. What `preferred_sizes` points to outlives the window.
// Units: sizes are rows; times are Time. Thread-safety: thread-safe (const, stateless).
// Source: A10, A11.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "batching/policy/close_reason.h"
#include "batching/policy/node_policy.h"
#include "core/clock.h"
#include "core/model_config.h"

namespace evenkeel::policy {

// Where the lane's next batch would go.
struct SlotView {
  bool idle =
      true;  // nothing runs; false: a batch would lie ready behind one, so waiting costs nothing
  bool draining = false;
  bool others_wait = false;          // another lane of the model has rows waiting
  Duration mean_time{}, p99_time{};  // T of a batch of what waits now; 0: unknown
};

// What is to be taken from the lane.
struct Closing {
  int64_t rows = 0;
  CloseReason reason = CloseReason::kIdle;
  Time wake_at = kNever;
};

struct Window {
  BatchingPolicy rule = BatchingPolicy::kGreedy;
  Duration max_delay{};                  // kFixed
  std::span<const int> preferred_sizes;  // kFixed; ascending

  Closing Decide(const LaneView& lane, const SlotView& slot, Time now) const;
  std::string_view name() const;

 private:
  Closing DecideFixed(const LaneView& lane, const SlotView& slot, Time now) const;
};

}  // namespace evenkeel::policy
