// Policies without a gate: every instance starts what it likes, whatever else runs on the cores.
//
// none: the request at the head, alone. greedy: all that waits once an instance is free. fixed: waits for max_rows (or a
// preferred size), at most max_delay after the oldest arrival.
#include <algorithm>

#include "batching/policy/gate.h"
#include "batching/policy/policies.h"

namespace evenkeel::policy {
namespace {

class AtWill : public NodePolicy {
 public:
  Decision Decide(const NodeView& node, Time now) final {
    Decision waits;
    for (size_t m = 0; m < node.models.size(); ++m) {
      const ModelView& model = node.models[m];
      const int instance = IdleInstance(model);
      const int lane = instance < 0 ? -1 : NextLane(model);
      if (lane < 0) continue;
      Decision decision = Take(model, model.lanes[static_cast<size_t>(lane)], now);
      waits.wake_at = std::min(waits.wake_at, decision.wake_at);
      if (decision.rows <= 0) continue;
      decision.start = true;
      decision.model = static_cast<int>(m);
      decision.lane = lane;
      decision.instance = instance;
      return decision;
    }
    return waits;
  }

 protected:
  // `rows` and `reason`, or 0 rows and wake_at.
  virtual Decision Take(const ModelView& model, const LaneView& lane, Time now) const = 0;
  static Decision Rows(int64_t rows, CloseReason reason) {
    Decision decision;
    decision.rows = rows;
    decision.reason = reason;
    return decision;
  }
};

class NoBatching final : public AtWill {
 public:
  std::string_view name() const override { return "none"; }

 protected:
  Decision Take(const ModelView&, const LaneView& lane, Time) const override {
    return Rows(std::min<int64_t>(lane.head_rows, lane.max_rows), CloseReason::kFull);
  }
};

class Greedy final : public AtWill {
 public:
  std::string_view name() const override { return "greedy"; }

 protected:
  Decision Take(const ModelView& model, const LaneView& lane, Time) const override {
    if (lane.waiting_rows >= lane.max_rows) return Rows(lane.max_rows, CloseReason::kFull);
    return Rows(lane.waiting_rows, model.draining ? CloseReason::kDrain : CloseReason::kIdle);
  }
};

class Fixed final : public AtWill {
 public:
  std::string_view name() const override { return "fixed"; }

 protected:
  Decision Take(const ModelView& model, const LaneView& lane, Time now) const override {
    if (lane.waiting_rows >= lane.max_rows) return Rows(lane.max_rows, CloseReason::kFull);
    const auto above = std::ranges::upper_bound(model.preferred_sizes, lane.waiting_rows);
    if (above != model.preferred_sizes.begin()) return Rows(*(above - 1), CloseReason::kFull);
    if (model.draining) return Rows(lane.waiting_rows, CloseReason::kDrain);
    Time close = lane.oldest_arrival + model.max_delay;
    const BatchCurve* curve = KnownCurve(model);
    if (lane.earliest_deadline != kNever && curve != nullptr) {
      // Twice the expected batch time: the answer has to arrive too, and T varies.
      const int rows = static_cast<int>(lane.waiting_rows);
      close = std::min(close, lane.earliest_deadline - 2 * curve->Mean(rows));
    }
    if (now >= close) return Rows(lane.waiting_rows, CloseReason::kDeadline);
    Decision waits;
    waits.wake_at = close;
    return waits;
  }
};

}  // namespace

std::unique_ptr<NodePolicy> MakeNone() { return std::make_unique<NoBatching>(); }
std::unique_ptr<NodePolicy> MakeGreedy() { return std::make_unique<Greedy>(); }
std::unique_ptr<NodePolicy> MakeFixed() { return std::make_unique<Fixed>(); }

}  // namespace evenkeel::policy
