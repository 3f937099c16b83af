#include "server/accelerators.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int kParts = 4;  // of a device, where nothing else is said
constexpr int64_t kUnknownMemory = int64_t{1} << 40;

}  // namespace

void Accelerators::Find() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(looked_, true)) return;
  if (emulated_) {
    devices_.push_back(std::make_unique<Device>("EMULATED", "CPU", emulated_->size));
    return;
  }
  const auto found = ListDevices(worker_);
  if (!found.ok()) {
    why_none_ = found.status();
    return;
  }
  for (const EngineDevice& device : *found) {
    const DeviceSize whole{device.cores > 0 ? device.cores : kParts,
                           device.memory_bytes > 0 ? device.memory_bytes : kUnknownMemory};
    devices_.push_back(std::make_unique<Device>(device.name, device.name, whole));
  }
}

bool Accelerators::any() const {
  const std::lock_guard lock(mutex_);
  return !devices_.empty();
}

std::string Accelerators::Say() const {
  const std::lock_guard lock(mutex_);
  if (devices_.empty() && !why_none_.ok())
    return fmt::format("accelerators could not be looked for: {}", why_none_.message());
  if (devices_.empty()) return "OpenVINO sees no GPU or NPU on this machine, and none is emulated";
  std::string text;
  for (const auto& device : devices_) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", device->label,
                        FormatDeviceSize(device->shares.whole()));
  }
  return text;
}

Result<DeviceGrant> Accelerators::Take(const DeviceSize& wanted) {
  Status refusal = Unsupported("{}", Say());
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < devices_.size(); ++i) {
    Device& device = *devices_[i];
    const DeviceSize& whole = device.shares.whole();
    DeviceSize size = wanted;
    if (size.cores == 0) {
      size = {std::max(1, whole.cores / kParts),
              std::max(std::min(kMinShapeMemory, whole.memory_bytes), whole.memory_bytes / kParts)};
    }
    auto share = device.shares.Take(size);
    if (!share.ok()) {
      // That one would have it, but for others, says more than that another is too small.
      if (refusal.code() != Code::kUnavailable) refusal = share.status();
      continue;
    }
    DeviceGrant grant;
    grant.label = device.label;
    grant.engine_device = device.engine_device;
    grant.shape = {static_cast<int>(i), size.cores, size.memory_bytes};
    if (emulated_) {
      grant.emulated = ShareOf(*emulated_, size);
      grant.host_cores = emulated_->host_cores;
    }
    grant.share = std::move(*share);
    return grant;
  }
  return refusal;
}

std::vector<Accelerators::Use> Accelerators::Uses() const {
  const std::lock_guard lock(mutex_);
  std::vector<Use> uses;
  for (const auto& device : devices_)
    uses.push_back({device->label, device->shares.whole(), device->shares.taken()});
  return uses;
}

}  // namespace evenkeel
