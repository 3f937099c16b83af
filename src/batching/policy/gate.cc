#include "batching/policy/gate.h"

#include <algorithm>
#include <utility>

namespace evenkeel::policy {
namespace {

int Width(const InstanceView& instance, int cores) {
  return std::clamp(instance.threads, 1, std::max(1, cores));
}

}  // namespace

int ThreadsInUse(const NodeView& node) {
  int used = 0;
  for (const ModelView& model : node.models) {
    for (const InstanceView& instance : model.instances) {
      if (instance.in_flight > 0) used += Width(instance, node.cores);
    }
  }
  return used;
}

int IdleInstance(const ModelView& model) {
  int best = -1;
  for (size_t i = 0; i < model.instances.size(); ++i) {
    const InstanceView& instance = model.instances[i];
    if (!instance.usable || instance.in_flight > 0) continue;
    if (best < 0 || instance.threads < model.instances[static_cast<size_t>(best)].threads)
      best = static_cast<int>(i);
  }
  return best;
}

int NextLane(const ModelView& model) {
  int best = -1;
  for (size_t i = 0; i < model.lanes.size(); ++i) {
    const LaneView& lane = model.lanes[i];
    if (lane.waiting_rows <= 0) continue;
    if (best >= 0) {
      const LaneView& other = model.lanes[static_cast<size_t>(best)];
      if (std::pair(other.priority, other.oldest_arrival) <=
          std::pair(lane.priority, lane.oldest_arrival))
        continue;
    }
    best = static_cast<int>(i);
  }
  return best;
}

Gate::Gate(const NodeView& node)
    : node_(node), free_(std::max(1, node.cores) - ThreadsInUse(node)) {}

void Gate::Offer(const Decision& candidate, double urgency) {
  const ModelView& model = node_.models[static_cast<size_t>(candidate.model)];
  const InstanceView& instance = model.instances[static_cast<size_t>(candidate.instance)];
  Best& best = Width(instance, node_.cores) <= free_ ? fits_ : wide_;
  if (urgency > best.urgency) best = {candidate, urgency};
}

Decision Gate::Pick() const {
  const bool kept = wide_.urgency >= kPatience && wide_.urgency > fits_.urgency;
  if (fits_.urgency < 0 || kept) return {};
  Decision decision = fits_.decision;
  decision.start = true;
  return decision;
}

}  // namespace evenkeel::policy
