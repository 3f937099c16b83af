#include "batching/policy/window.h"

#include <algorithm>

namespace evenkeel::policy {
namespace {

Closing Take(int64_t rows, CloseReason reason) { return {rows, reason, kNever}; }

// Starts at once: it cannot grow, and lying ready in the second slot it closes the gap between two batches.
bool Full(const LaneView& lane) { return lane.waiting_rows >= lane.max_rows; }

Closing DecideGreedy(const LaneView& lane, const SlotView& slot) {
  if (Full(lane)) return Take(lane.max_rows, CloseReason::kFull);
  if (!slot.idle) return {};
  if (slot.draining) return Take(lane.waiting_rows, CloseReason::kDrain);
  return Take(lane.waiting_rows, slot.others_wait ? CloseReason::kShape : CloseReason::kIdle);
}

}  // namespace

Closing Window::DecideFixed(const LaneView& lane, const SlotView& slot, Time now) const {
  if (Full(lane)) return Take(lane.max_rows, CloseReason::kFull);
  // Anything less would grow while the batch before it runs.
  if (!slot.idle) return {};
  const auto above = std::ranges::upper_bound(preferred_sizes, lane.waiting_rows);
  if (above != preferred_sizes.begin()) return Take(*(above - 1), CloseReason::kFull);
  if (slot.draining) return Take(lane.waiting_rows, CloseReason::kDrain);
  Time close = lane.oldest_arrival + max_delay;
  if (lane.earliest_deadline != kNever) {
    // The answer has to arrive too, and T varies by more than its first runs have shown.
    const Duration reserved = std::max(2 * slot.mean_time, slot.p99_time);
    close = std::min(close, lane.earliest_deadline - reserved);
  }
  if (now >= close) return Take(lane.waiting_rows, CloseReason::kDeadline);
  return {0, CloseReason::kIdle, close};
}

Closing Window::Decide(const LaneView& lane, const SlotView& slot, Time now) const {
  switch (rule) {
    case BatchingPolicy::kNone: return Take(lane.head_rows, CloseReason::kFull);
    case BatchingPolicy::kFixed: return DecideFixed(lane, slot, now);
    case BatchingPolicy::kAuto:
    case BatchingPolicy::kGreedy: break;
  }
  return DecideGreedy(lane, slot);
}

std::string_view Window::name() const {
  switch (rule) {
    case BatchingPolicy::kNone: return "none";
    case BatchingPolicy::kFixed: return "fixed";
    case BatchingPolicy::kAuto:
    case BatchingPolicy::kGreedy: break;
  }
  return "greedy";
}

}  // namespace evenkeel::policy
