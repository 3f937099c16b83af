#include "batching/window.h"

#include <algorithm>

namespace evenkeel {
namespace {

Decision Take(int64_t rows, CloseReason reason) { return {rows, reason, kNever}; }

// A full batch starts at once: it cannot grow, and lying ready in the second slot it closes the gap between two batches.
bool Full(const LaneView& lane, const InstanceView& instance) {
  return lane.waiting_rows >= instance.max_batch;
}

class NoBatching final : public Window {
 public:
  Decision Decide(const LaneView& lane, const InstanceView&, Time) const override {
    return Take(lane.head_rows, CloseReason::kFull);
  }
  std::string_view name() const override { return "none"; }
};

class Greedy final : public Window {
 public:
  Decision Decide(const LaneView& lane, const InstanceView& instance, Time) const override {
    if (Full(lane, instance)) return Take(instance.max_batch, CloseReason::kFull);
    if (!instance.idle) return {};
    if (instance.draining) return Take(lane.waiting_rows, CloseReason::kDrain);
    return Take(lane.waiting_rows, lane.others_wait ? CloseReason::kShape : CloseReason::kIdle);
  }
  std::string_view name() const override { return "greedy"; }
};

class Fixed final : public Window {
 public:
  explicit Fixed(const BatchingConfig& config)
      : max_delay_(config.max_delay), preferred_(config.preferred_sizes) {
    std::ranges::sort(preferred_);
  }

  Decision Decide(const LaneView& lane, const InstanceView& instance, Time now) const override {
    if (Full(lane, instance)) return Take(instance.max_batch, CloseReason::kFull);
    const int64_t target = PreferredBelow(lane.waiting_rows);
    if (target > 0) return Take(target, CloseReason::kFull);
    if (instance.draining) {
      return instance.idle ? Take(lane.waiting_rows, CloseReason::kDrain) : Decision{};
    }
    Time close = lane.oldest_arrival + max_delay_;
    if (lane.earliest_deadline != kNever) {
      // Twice the expected batch time: the answer has to arrive too, and T varies.
      close = std::min(close, lane.earliest_deadline - 2 * instance.batch_time);
    }
    if (now < close) return {0, CloseReason::kIdle, close};
    return instance.idle ? Take(lane.waiting_rows, CloseReason::kDeadline) : Decision{};
  }
  std::string_view name() const override { return "fixed"; }

 private:
  // The largest preferred size that is reached; 0: none.
  int64_t PreferredBelow(int64_t rows) const {
    const auto above = std::ranges::upper_bound(preferred_, rows);
    return above == preferred_.begin() ? 0 : *(above - 1);
  }

  const Duration max_delay_;
  std::vector<int> preferred_;
};

}  // namespace

std::unique_ptr<Window> MakeWindow(const BatchingConfig& config) {
  switch (config.policy) {
    case BatchingPolicy::kAuto: break;  // there is no node to decide
    case BatchingPolicy::kNone: return std::make_unique<NoBatching>();
    case BatchingPolicy::kGreedy: return std::make_unique<Greedy>();
    case BatchingPolicy::kFixed: return std::make_unique<Fixed>(config);
  }
  return std::make_unique<Greedy>();
}

}  // namespace evenkeel
