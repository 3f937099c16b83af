#include "batching/policy/overflow.h"

#include <algorithm>

#include "batching/policy/hold.h"
#include "batching/policy/target.h"

namespace evenkeel::policy {
namespace {

int InstancesOf(const ModelView& model, DeviceClass device) {
  int count = 0;
  for (const InstanceView& instance : model.instances)
    count += instance.usable && instance.device == device ? 1 : 0;
  return count;
}

const BatchCurve* CurveOf(const ModelView& model, DeviceClass device) {
  return device == DeviceClass::kGpu ? model.device_curve : model.curve;
}

double RowsPerSecond(const BatchCurve& curve, int rows) {
  return rows / std::max(1e-9, Seconds(curve.Mean(rows)));
}

// When the first of the class's instances can start a batch. One that is late by `each` may never come back.
Time FreeAt(const ModelView& model, DeviceClass device, Duration each, const Gate& gate, Time now) {
  Time free = kNever;
  for (const InstanceView& instance : model.instances) {
    if (!instance.usable || instance.device != device) continue;
    if (instance.in_flight > 0 && instance.busy_until + each < now) continue;
    const Time at = instance.in_flight > 0 ? instance.busy_until
                    : gate.Fits(instance)  ? now
                                           : gate.next_core();
    free = std::min(free, at);
  }
  return free == kNever ? kNever : std::max(free, now);
}

}  // namespace

ClassKnees KneesOf(const ModelView& model, int cpu_knee) {
  ClassKnees knees;
  const int on_cpu = InstancesOf(model, DeviceClass::kCpu);
  const int on_gpu = InstancesOf(model, DeviceClass::kGpu);
  double cpu_rows_s = 0, gpu_rows_s = 0;
  if (on_cpu > 0 && cpu_knee > 0) {
    knees.cpu = cpu_knee;
    cpu_rows_s = RowsPerSecond(*model.curve, cpu_knee);
  }
  if (on_gpu > 0 && model.device_curve != nullptr && !model.device_curve->empty()) {
    // It shares its part of the device with no other model: its own objective is all that it heeds, and the last percents count.
    constexpr double kSlack = 1.005;
    knees.gpu = Knee(*model.device_curve, model.device_max_batch, model.objective / 4, kSlack);
    gpu_rows_s = RowsPerSecond(*model.device_curve, knees.gpu);
  }
  knees.gpu_first = gpu_rows_s > cpu_rows_s;
  knees.first_rows_s = knees.gpu_first ? gpu_rows_s * on_gpu : cpu_rows_s * on_cpu;
  return knees;
}

Placement PlaceBatch(const ModelView& model, const ClassKnees& knees, const LaneView& lane,
                     const Gate& gate, Time now) {
  if (model.device != DeviceClass::kAuto || knees.cpu == 0 || knees.gpu == 0)
    return {IdleInstance(model)};
  const auto first = knees.gpu_first ? DeviceClass::kGpu : DeviceClass::kCpu;
  const auto other = knees.gpu_first ? DeviceClass::kCpu : DeviceClass::kGpu;
  const int preferred = IdleInstance(model, first);
  const auto fits = [&](int i) { return gate.Fits(model.instances[static_cast<size_t>(i)]); };
  if (preferred >= 0 && fits(preferred)) return {preferred};
  const int spare = IdleInstance(model, other);
  if (spare < 0 || !fits(spare)) return {preferred};

  const auto rows_of = [&](DeviceClass device) {
    const int knee = device == DeviceClass::kGpu ? knees.gpu : knees.cpu;
    return static_cast<int>(
        std::clamp<int64_t>(lane.waiting_rows, 1, std::min(knee, lane.max_rows)));
  };
  const int own = rows_of(first);
  const int64_t batches = (lane.waiting_rows + own - 1) / own;
  const int64_t instances = std::max(1, InstancesOf(model, first));
  const Duration each = CurveOf(model, first)->Mean(own);
  const Time free = FreeAt(model, first, each, gate, now);
  if (free == kNever) return {spare};
  const Time first_done = free + (batches + instances - 1) / instances * each;
  const Time other_done = now + CurveOf(model, other)->Mean(rows_of(other));
  const Time due = SoftDeadline(lane, model.objective);
  const bool sooner = other_done < first_done;
  if (sooner && (other_done <= due || free + each > due)) return {spare};
  return {preferred, free + each + Duration(1)};
}

}  // namespace evenkeel::policy
