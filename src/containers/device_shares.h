// Who has which part of one accelerator: the sum of the shares never exceeds the device (A3).
//
// Contract: Take() gives a share that is free now, or an error that says what is left; a share goes back with its DeviceShare, on any thread.
// Ownership: a DeviceShares outlives the shares that it gave.
// Units: compute units, bytes. Thread-safety: thread-safe.
#pragma once

#include <mutex>
#include <string>
#include <utility>

#include "core/device_size.h"
#include "core/status.h"

namespace evenkeel {

class DeviceShares;

// A share that is held; empty after a move.
class DeviceShare {
 public:
  DeviceShare() = default;
  DeviceShare(DeviceShare&& other) noexcept { *this = std::move(other); }
  DeviceShare& operator=(DeviceShare&& other) noexcept;
  ~DeviceShare() { Release(); }

  const DeviceSize& size() const { return size_; }
  explicit operator bool() const { return owner_ != nullptr; }
  void Release();

 private:
  friend class DeviceShares;
  DeviceShare(DeviceShares* owner, const DeviceSize& size) : owner_(owner), size_(size) {}

  DeviceShares* owner_ = nullptr;
  DeviceSize size_;
};

class DeviceShares {
 public:
  // `name` is for messages: "the emulated device".
  DeviceShares(std::string name, const DeviceSize& whole) : name_(std::move(name)), whole_(whole) {}

  // Errors: kInvalidArgument (more than the whole device, or no core), kUnavailable (others have it).
  Result<DeviceShare> Take(const DeviceSize& share);

  const std::string& name() const { return name_; }
  const DeviceSize& whole() const { return whole_; }
  DeviceSize taken() const;

 private:
  friend class DeviceShare;
  void GiveBack(const DeviceSize& share);

  const std::string name_;
  const DeviceSize whole_;
  mutable std::mutex mutex_;  // guards taken_
  DeviceSize taken_;
};

}  // namespace evenkeel
