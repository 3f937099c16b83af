// The accelerators that instances of class `gpu` and `auto` run on, and who has which share of them: the emulated one of the operator
// (--emulated-gpu), else those that OpenVINO sees.
//
// Contract: Find() looks for devices once; it starts a worker executable and blocks until that has answered (10 s at most); with an emulated
//   one it does nothing. Take() gives a share of the first device that has it; the sum of the shares never exceeds a device. Without a size
//   it is a quarter of the device's cores and memory, so that a model can be loaded again while it serves. OpenVINO holds no instance to
//   its share: on a real device shares are bookkeeping.
//   A device whose driver tells no cores or memory counts as 4 cores and 1 TiB.
// Ownership: outlives what it granted.
// Thread-safety: thread-safe. Source: A2, A3.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "containers/device_shares.h"
#include "containers/shape.h"
#include "core/emulated_gpu.h"
#include "core/status.h"
#include "engines/device_list.h"

namespace evenkeel {

// What one instance runs on.
struct DeviceGrant {
  std::string label;          // "EMULATED" or the engine's name: "GPU.1"
  std::string engine_device;  // for EngineOptions::device: "CPU" under an emulated one
  std::optional<EmulatedShare> emulated;
  GpuShape shape;
  int host_cores = 0;  // that a batch keeps busy
  DeviceShare share;
};

class Accelerators {
 public:
  Accelerators(std::optional<EmulatedGpu> emulated, std::string worker)
      : emulated_(std::move(emulated)), worker_(std::move(worker)) {}

  void Find();
  // At least one was found. REQUIRES: Find() has returned.
  bool any() const;
  // Why there is none, or what there is, in words.
  std::string Say() const;

  // Errors: kUnsupported (there is no accelerator), kUnavailable (others have it), kInvalidArgument (larger than any device).
  Result<DeviceGrant> Take(const DeviceSize& wanted);

  struct Use {
    std::string label;
    DeviceSize whole, taken;
  };
  std::vector<Use> Uses() const;
  const std::optional<EmulatedGpu>& emulated() const { return emulated_; }

 private:
  struct Device {
    Device(std::string l, std::string e, const DeviceSize& whole)
        : label(std::move(l)), engine_device(std::move(e)), shares(label, whole) {}
    std::string label, engine_device;
    DeviceShares shares;
  };

  const std::optional<EmulatedGpu> emulated_;
  const std::string worker_;  // executable of the OpenVINO engine
  mutable std::mutex mutex_;  // guards the rest; devices stay once they are there
  bool looked_ = false;
  Status why_none_;
  std::vector<std::unique_ptr<Device>> devices_;
};

}  // namespace evenkeel
