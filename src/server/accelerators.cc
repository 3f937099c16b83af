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
    devices_.push_back(
        std::make_unique<Device>("EMULATED", "CPU", emulated_->size, emulated_->size));
    return;
  }
  if (!barred_.empty()) {
    why_none_ = Unsupported("accelerators are not looked for: {}", barred_);
    return;
  }
  const auto found = ListDevices(worker_);
  if (!found.ok()) {
    why_none_ = found.status().Annotate("accelerators could not be looked for");
    return;
  }
  for (const EngineDevice& device : *found) {
    const DeviceSize whole{device.cores > 0 ? device.cores : kParts,
                           device.memory_bytes > 0 ? device.memory_bytes : kUnknownMemory};
    devices_.push_back(
        std::make_unique<Device>(device.name, device.name, whole,
                                 DeviceSize{std::max(1, device.cores), device.memory_bytes}));
  }
}

bool Accelerators::any() const {
  const std::lock_guard lock(mutex_);
  return !devices_.empty();
}

std::string Accelerators::Say() const {
  const std::lock_guard lock(mutex_);
  if (devices_.empty() && !why_none_.ok()) return std::string(why_none_.message());
  if (devices_.empty()) return "OpenVINO sees no GPU or NPU on this machine, and none is emulated";
  std::string text;
  for (const auto& device : devices_) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", device->label,
                        FormatDeviceSize(device->shares.whole()));
  }
  return text;
}

Result<DeviceGrant> Accelerators::Take(const DeviceSize& wanted) {
  Recalls recalls;
  auto grant = [&] {
    const std::lock_guard lock(mutex_);
    return TakeLocked(wanted, &recalls);
  }();
  for (const auto& recall : recalls) recall();
  if (grant.ok() || grant.status().code() != Code::kUnsupported) return grant;
  return Unsupported("{}", Say());
}

Result<DeviceGrant> Accelerators::TakeLocked(const DeviceSize& wanted, Recalls* recalls) {
  Status refusal = Unsupported("there is no accelerator");
  for (size_t i = 0; i < devices_.size(); ++i) {
    Device& device = *devices_[i];
    const DeviceSize& whole = device.shares.whole();
    DeviceSize size = wanted;
    if (size.cores == 0) {
      size = {std::max(1, whole.cores / kParts),
              std::max(std::min(kMinShapeMemory, whole.memory_bytes), whole.memory_bytes / kParts)};
    }
    auto share = device.shares.Take(size);
    if (share.status().code() == Code::kUnavailable && i == 0 &&
        Recall(device.shares, size, recalls)) {
      share = device.shares.Take(size);
    }
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

// False: not even all loans together would make the room.
bool Accelerators::Recall(const DeviceShares& shares, const DeviceSize& size, Recalls* recalls) {
  DeviceSize taken = shares.taken();
  for (const auto& [id, lent] : lent_) {
    taken.cores -= lent.share.size().cores;
    taken.memory_bytes -= lent.share.size().memory_bytes;
  }
  const DeviceSize& whole = shares.whole();
  if (lent_.empty() || size.cores > whole.cores - taken.cores ||
      size.memory_bytes > whole.memory_bytes - taken.memory_bytes) {
    return false;
  }
  for (auto& [id, lent] : lent_) recalls->push_back(std::move(lent.recall));
  lent_.clear();
  return true;
}

Result<std::unique_ptr<DeviceLoan>> Accelerators::Lend(const DeviceSize& wanted,
                                                       std::function<void()> recall) {
  const std::lock_guard lock(mutex_);
  if (devices_.empty()) return Unsupported("there is no accelerator");
  auto share = devices_.front()->shares.Take(wanted);
  if (!share.ok()) return share.status();
  const int id = next_loan_++;
  lent_.emplace(id, Lent{std::move(*share), std::move(recall)});
  return std::make_unique<DeviceLoan>(this, id, wanted);
}

void Accelerators::GiveBack(int loan) {
  const std::lock_guard lock(mutex_);
  lent_.erase(loan);
}

DeviceLoan::~DeviceLoan() { owner_->GiveBack(id_); }

std::optional<Accelerators::First> Accelerators::first() const {
  const std::lock_guard lock(mutex_);
  if (devices_.empty()) return std::nullopt;
  return First{devices_.front()->engine_device, devices_.front()->told};
}

DeviceSize Accelerators::Room() const {
  const std::lock_guard lock(mutex_);
  if (devices_.empty()) return {};
  const DeviceShares& shares = devices_.front()->shares;
  const DeviceSize taken = shares.taken();
  DeviceSize room{shares.whole().cores - taken.cores,
                  shares.whole().memory_bytes - taken.memory_bytes};
  for (const auto& [id, lent] : lent_) {
    room.cores += lent.share.size().cores;
    room.memory_bytes += lent.share.size().memory_bytes;
  }
  return room;
}

DeviceClass ClassToServe(const ModelConfig& config, const Accelerators* accelerators,
                         bool by_method) {
  if (config.device != DeviceClass::kAuto) return config.device;
  if (accelerators == nullptr || !accelerators->any()) return DeviceClass::kCpu;
  return by_method ? DeviceClass::kGpu : DeviceClass::kAuto;
}

std::vector<Accelerators::Use> Accelerators::Uses() const {
  const std::lock_guard lock(mutex_);
  std::vector<Use> uses;
  for (const auto& device : devices_)
    uses.push_back({device->label, device->shares.whole(), device->shares.taken()});
  return uses;
}

}  // namespace evenkeel
