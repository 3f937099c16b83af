// The gate without the window: while a core is free, the most urgent model runs all that waits. For comparison.
#include "batching/policy/gate.h"
#include "batching/policy/policies.h"

namespace evenkeel::policy {
namespace {

class GatedGreedy final : public NodePolicy {
 public:
  Decision Decide(const NodeView& node, Time now) override {
    Gate gate(node);
    if (!gate.open()) return {};
    for (size_t m = 0; m < node.models.size(); ++m) {
      const ModelView& model = node.models[m];
      const int lane = NextLane(model);
      const int instance = lane < 0 ? -1 : IdleInstance(model);
      if (instance < 0) continue;
      const LaneView& view = model.lanes[static_cast<size_t>(lane)];
      Decision candidate;
      candidate.model = static_cast<int>(m);
      candidate.lane = lane;
      candidate.instance = instance;
      candidate.rows = std::min<int64_t>(view.waiting_rows, view.max_rows);
      candidate.reason = candidate.rows == view.max_rows ? CloseReason::kFull : CloseReason::kIdle;
      gate.Offer(candidate, Urgency(view, model.objective, now));
    }
    return gate.Pick();
  }
  std::string_view name() const override { return "gated-greedy"; }
};

}  // namespace

std::unique_ptr<NodePolicy> MakeGatedGreedy() { return std::make_unique<GatedGreedy>(); }

}  // namespace evenkeel::policy
