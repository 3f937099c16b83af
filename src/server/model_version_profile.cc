// A model version as the daemon's own profiling sees it.
#include <algorithm>
#include <utility>

#include "containers/exit_text.h"
#include "core/format.h"
#include "server/model_version.h"

namespace evenkeel {
namespace {

constexpr Duration kForecastSpan = std::chrono::seconds(10);

}  // namespace

ServingState ModelVersion::Serving(Time now) const {
  const Duration wait = dispatcher_->OldestWait(now);
  const Duration objective = std::max<Duration>(dispatcher_->objective(), Duration(1));
  return {.last_arrival = dispatcher_->last_arrival(),
          .worst_wait = Seconds(wait) / Seconds(objective)};
}

double ModelVersion::RowsPerSecond(Time /*now*/) const {
  return dispatcher_->RowsPerSecond(kForecastSpan);
}

std::vector<LiveSize> ModelVersion::LiveTimes(DeviceClass device) const {
  std::vector<LiveSize> live;
  const BatchTimes times = dispatcher_->Times(device);
  for (const auto& [rows, entry] : times.entries())
    live.push_back({rows, Duration(static_cast<int64_t>(entry.mean_ns)), entry.count});
  return live;
}

DeviceSize ModelVersion::HeldShare() const {
  for (const InstanceSet::Info& instance : Instances()) {
    const auto& share = instance.device.share;
    if (share && instance.state == "ready") return {share->cores, share->memory_bytes};
  }
  return {};
}

std::optional<int64_t> ModelVersion::OutOfMemoryAt() const {
  for (const InstanceSet::Info& instance : Instances()) {
    const bool killed = SaysOutOfMemory(instance.last_end);
    if (killed && instance.form->shape) return instance.form->shape->memory_bytes;
  }
  return std::nullopt;
}

void ModelVersion::AdoptForm(InstanceForm form, std::function<void(Status)> done) {
  context_.loop.Post([weak = weak_from_this(), form = std::move(form), done = std::move(done)] {
    if (const auto self = weak.lock()) return self->Adopt(form, done);
    done(Unavailable("the model is gone"));
  });
}

void ModelVersion::HoldClasses(bool cpu, bool gpu) {
  context_.loop.Post([weak = weak_from_this(), cpu, gpu] {
    if (const auto self = weak.lock()) self->Hold(cpu, gpu);
  });
}

}  // namespace evenkeel
