#include "containers/device_shares.h"

#include "core/format.h"

namespace evenkeel {

DeviceShare& DeviceShare::operator=(DeviceShare&& other) noexcept {
  if (this == &other) return *this;
  Release();
  owner_ = std::exchange(other.owner_, nullptr);
  size_ = other.size_;
  return *this;
}

void DeviceShare::Release() {
  if (owner_ != nullptr) std::exchange(owner_, nullptr)->GiveBack(size_);
}

Result<DeviceShare> DeviceShares::Take(const DeviceSize& share) {
  if (share.cores < 1 || share.memory_bytes < 0 || share.cores > whole_.cores ||
      share.memory_bytes > whole_.memory_bytes) {
    return InvalidArgument("{} has {}, a share of {} was asked for", name_,
                           FormatDeviceSize(whole_), FormatDeviceSize(share));
  }
  const std::lock_guard lock(mutex_);
  const DeviceSize left{whole_.cores - taken_.cores, whole_.memory_bytes - taken_.memory_bytes};
  if (share.cores > left.cores || share.memory_bytes > left.memory_bytes) {
    return Unavailable("{} has {} left of {}, a share of {} was asked for", name_,
                       FormatDeviceSize(left), FormatDeviceSize(whole_), FormatDeviceSize(share));
  }
  taken_.cores += share.cores;
  taken_.memory_bytes += share.memory_bytes;
  return DeviceShare(this, share);
}

DeviceSize DeviceShares::taken() const {
  const std::lock_guard lock(mutex_);
  return taken_;
}

void DeviceShares::GiveBack(const DeviceSize& share) {
  const std::lock_guard lock(mutex_);
  taken_.cores -= share.cores;
  taken_.memory_bytes -= share.memory_bytes;
}

}  // namespace evenkeel
