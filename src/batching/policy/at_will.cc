// Policies without a gate: every instance starts what it likes, whatever else runs on the cores.
//
// none, greedy, fixed: as window.h has them, which a dispatcher applies itself where a model's settings name one of them. Of the
// lanes that are to be closed the one of the best priority is next, then the one with the oldest row.
#include <algorithm>
#include <utility>

#include "batching/policy/gate.h"
#include "batching/policy/policies.h"
#include "batching/policy/window.h"

namespace evenkeel::policy {
namespace {

class AtWill final : public NodePolicy {
 public:
  explicit AtWill(BatchingPolicy rule) : rule_(rule) {}

  Decision Decide(const NodeView& node, Time now) override {
    Decision waits;
    for (size_t m = 0; m < node.models.size(); ++m) {
      const ModelView& model = node.models[m];
      const int instance = IdleInstance(model);
      if (instance < 0) continue;
      Decision decision = CloseLane(model, instance, now);
      waits.wake_at = std::min(waits.wake_at, decision.wake_at);
      if (!decision.start) continue;
      decision.model = static_cast<int>(m);
      decision.instance = instance;
      return decision;
    }
    return waits;
  }
  std::string_view name() const override { return Window{rule_, {}, {}}.name(); }

 private:
  // Lane, rows and reason of the lane that is next; or, as wake_at, when to look again.
  Decision CloseLane(const ModelView& model, int instance, Time now) const {
    const Window window{rule_, model.max_delay, model.preferred_sizes};
    SlotView slot;
    slot.draining = model.draining;
    slot.others_wait = std::ranges::count_if(model.lanes, [](const LaneView& lane) {
                         return lane.waiting_rows > 0;
                       }) > 1;
    Decision best;
    for (size_t i = 0; i < model.lanes.size(); ++i) {
      const LaneView& lane = model.lanes[i];
      if (lane.waiting_rows <= 0) continue;
      if (lane.earliest_deadline != kNever) SetTimes(model, instance, lane, &slot);
      const Closing closing = window.Decide(lane, slot, now);
      best.wake_at = std::min(best.wake_at, closing.wake_at);
      if (closing.rows <= 0) continue;
      if (best.start) {
        const LaneView& other = model.lanes[static_cast<size_t>(best.lane)];
        if (std::pair(other.priority, other.oldest_arrival) <=
            std::pair(lane.priority, lane.oldest_arrival))
          continue;
      }
      best.start = true;
      best.lane = static_cast<int>(i);
      best.rows = std::min<int64_t>(closing.rows, lane.max_rows);
      best.reason = closing.reason;
    }
    return best;
  }

  static void SetTimes(const ModelView& model, int instance, const LaneView& lane, SlotView* slot) {
    const bool gpu = model.instances[static_cast<size_t>(instance)].device == DeviceClass::kGpu;
    const BatchCurve* curve = gpu ? model.device_curve : model.curve;
    if (curve == nullptr) return;
    const int rows = static_cast<int>(std::min<int64_t>(lane.waiting_rows, lane.max_rows));
    slot->mean_time = curve->Mean(rows);
    slot->p99_time = curve->P99(rows);
  }

  const BatchingPolicy rule_;
};

}  // namespace

std::unique_ptr<NodePolicy> MakeNone() { return std::make_unique<AtWill>(BatchingPolicy::kNone); }
std::unique_ptr<NodePolicy> MakeGreedy() {
  return std::make_unique<AtWill>(BatchingPolicy::kGreedy);
}
std::unique_ptr<NodePolicy> MakeFixed() { return std::make_unique<AtWill>(BatchingPolicy::kFixed); }

}  // namespace evenkeel::policy
