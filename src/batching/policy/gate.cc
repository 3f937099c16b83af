#include "batching/policy/gate.h"

#include <algorithm>
#include <utility>

namespace evenkeel::policy {
namespace {

int Width(const InstanceView& instance, int cores) {
  const int least = instance.device == DeviceClass::kGpu ? 0 : 1;
  return std::clamp(instance.threads, least, std::max(1, cores));
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

int IdleInstance(const ModelView& model) { return IdleInstance(model, model.device); }

// `device` may be kAuto: any.
int IdleInstance(const ModelView& model, DeviceClass device) {
  int best = -1;
  for (size_t i = 0; i < model.instances.size(); ++i) {
    const InstanceView& instance = model.instances[i];
    if (!instance.usable || instance.in_flight > 0 || !Allows(model, instance.device)) continue;
    if (device != DeviceClass::kAuto && instance.device != device) continue;
    if (best < 0 || instance.threads < model.instances[static_cast<size_t>(best)].threads)
      best = static_cast<int>(i);
  }
  return best;
}

const BatchCurve* KnownCurve(const ModelView& model) {
  if (model.curve != nullptr && !model.curve->empty()) return model.curve;
  const bool other = model.device_curve != nullptr && !model.device_curve->empty();
  return other ? model.device_curve : nullptr;
}

int CpuThreads(const ModelView& model) {
  for (const InstanceView& instance : model.instances) {
    if (instance.device == DeviceClass::kCpu) return instance.threads;
  }
  return 1;
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

Gate::Gate(const NodeView& node) : node_(node), free_(std::max(1, node.cores) - node.standing) {
  for (const ModelView& model : node.models) {
    for (const InstanceView& instance : model.instances) {
      const int width = Width(instance, node.cores);
      if (instance.in_flight == 0) {
        coreless_ = coreless_ || (width == 0 && instance.usable);
      } else if (width > 0) {
        free_ -= width;
        next_core_ = std::min(next_core_, instance.busy_until);
      }
    }
  }
}

bool Gate::Fits(const InstanceView& instance) const {
  return Width(instance, node_.cores) <= std::max(0, free_);
}

void Gate::Offer(const Decision& candidate, double urgency) {
  const ModelView& model = node_.models[static_cast<size_t>(candidate.model)];
  const InstanceView& instance = model.instances[static_cast<size_t>(candidate.instance)];
  const int width = Width(instance, node_.cores);
  Best& best = width == 0 ? coreless_best_ : width <= free_ ? fits_ : wide_;
  if (urgency > best.urgency) best = {candidate, urgency};
}

Decision Gate::Pick() const {
  const bool kept = wide_.urgency >= kPatience && wide_.urgency > fits_.urgency;
  const Best& best = coreless_best_.urgency >= 0 ? coreless_best_ : fits_;
  if (best.urgency < 0 || (kept && &best == &fits_)) return {};
  Decision decision = best.decision;
  decision.start = true;
  return decision;
}

}  // namespace evenkeel::policy
