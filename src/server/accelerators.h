// The accelerators that instances of class `gpu` and `auto` run on, and who has which share of them: the emulated one of the operator
// (--emulated-gpu), else those that OpenVINO sees.
//
// Two kinds of holder: instances take shares for as long as they live; whoever measures borrows them, from the first device, and only
//   what nobody has. A loan that an instance's share needs goes back at once: in the books before Take() returns, by its worker's end
//   as soon as the borrower has acted on `recall` (while the instance still loads).
//
// Contract: Find() looks for devices once; it starts a worker executable and blocks until that has answered (10 s at most); with an emulated
//   one it does nothing. Take() gives a share of the first device that has it; the sum of the shares never exceeds a device. Without a size
//   it is a quarter of the device's cores and memory, so that a model can be loaded again while it serves. OpenVINO holds no instance to
//   its share: on a real device shares are bookkeeping.
//   A device whose driver tells no cores or memory counts as 4 cores and 1 TiB.
// Ownership: outlives what it granted.
// Thread-safety: thread-safe. Source: A2, A3.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "containers/device_shares.h"
#include "containers/shape.h"
#include "core/emulated_gpu.h"
#include "core/model_config.h"
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

class Accelerators;

// A share that was borrowed; it goes back with this, unless it was recalled before. Not moved, so that it can be found.
class DeviceLoan {
 public:
  DeviceLoan(Accelerators* owner, int id, const DeviceSize& size)
      : owner_(owner), id_(id), size_(size) {}
  ~DeviceLoan();
  DeviceLoan(const DeviceLoan&) = delete;
  DeviceLoan& operator=(const DeviceLoan&) = delete;
  const DeviceSize& size() const { return size_; }

 private:
  Accelerators* const owner_;
  const int id_;
  const DeviceSize size_;
};

class Accelerators {
 public:
  // `barred`: why no real one can be used here; empty: they can.
  Accelerators(std::optional<EmulatedGpu> emulated, std::string worker, std::string barred = {})
      : emulated_(std::move(emulated)), worker_(std::move(worker)), barred_(std::move(barred)) {}

  void Find();
  // At least one was found. REQUIRES: Find() has returned.
  bool any() const;
  // Why there is none, or what there is, in words.
  std::string Say() const;

  // Errors: kUnsupported (there is no accelerator), kUnavailable (others have it), kInvalidArgument (larger than any device).
  Result<DeviceGrant> Take(const DeviceSize& wanted);

  // Of the first device, if nobody has it. `recall` is called at most once, on the thread of a Take(), without a lock: what runs
  // on the loan is to end. Errors as Take().
  Result<std::unique_ptr<DeviceLoan>> Lend(const DeviceSize& wanted, std::function<void()> recall);

  // The device that models are measured on.
  struct First {
    std::string engine_device;
    DeviceSize size;  // as its driver tells it; 1 core, no memory: it does not
  };
  std::optional<First> first() const;
  // What an instance could have of the first device now.
  DeviceSize Room() const;

  struct Use {
    std::string label;
    DeviceSize whole, taken;
  };
  std::vector<Use> Uses() const;
  const std::optional<EmulatedGpu>& emulated() const { return emulated_; }

 private:
  friend class DeviceLoan;
  struct Device {
    Device(std::string l, std::string e, const DeviceSize& whole, const DeviceSize& told_size)
        : label(std::move(l)), engine_device(std::move(e)), told(told_size), shares(label, whole) {}
    std::string label, engine_device;
    DeviceSize told;
    DeviceShares shares;
  };

  struct Lent {
    DeviceShare share;
    std::function<void()> recall;
  };
  using Recalls = std::vector<std::function<void()>>;

  Result<DeviceGrant> TakeLocked(const DeviceSize& wanted, Recalls* recalls);
  bool Recall(const DeviceShares& shares, const DeviceSize& size, Recalls* recalls);
  void GiveBack(int loan);

  const std::optional<EmulatedGpu> emulated_;
  const std::string worker_;  // executable of the OpenVINO engine
  const std::string barred_;
  mutable std::mutex mutex_;  // guards the rest; devices stay once they are there
  bool looked_ = false;
  Status why_none_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::map<int, Lent> lent_;  // all of the first device
  int next_loan_ = 0;
};

// Where a model's batches may run: what its manifest says, but kCpu for `auto` without an accelerator. `by_method`: the class is fixed
// before anything runs, and a model that leaves it open is a GPU-type task where there is an accelerator. REQUIRES: Find() has returned, if
// the manifest does not say cpu.
DeviceClass ClassToServe(const ModelConfig& config, const Accelerators* accelerators,
                         bool by_method);

}  // namespace evenkeel
