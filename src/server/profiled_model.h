// A served model version, as the daemon's own profiling sees it.
//
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/device_size.h"
#include "core/model_config.h"
#include "core/status.h"
#include "core/tensor.h"
#include "profiling/policy/drift.h"
#include "profiling/policy/sweep_pace.h"
#include "server/instance_form.h"

namespace evenkeel {

class ProfiledModel {
 public:
  virtual ~ProfiledModel() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const Signature& signature() const = 0;  // as served
  virtual std::string EngineInfo() const = 0;      // JSON, as its worker told it
  virtual Duration objective() const = 0;
  // Where its batches may run: kCpu, kGpu, or kAuto for both.
  virtual DeviceClass device_class() const = 0;

  virtual ServingState Serving(Time now) const = 0;  // of this model alone
  virtual double RowsPerSecond(Time now) const = 0;  // forecast over the next seconds
  // What an instance of it that is ready has of an accelerator; 0 cores: there is none.
  virtual DeviceSize HeldShare() const = 0;
  virtual std::vector<LiveSize> LiveTimes(DeviceClass device) const = 0;  // kCpu or kGpu
  // Its batches run beside others' on the same cores, so that their times tell little.
  virtual bool SharesCores() const = 0;

  // The memory of the shape of an instance that was killed for want of memory; nullopt: none of those there are was.
  virtual std::optional<int64_t> OutOfMemoryAt() const = 0;

  // Its instances of the form's class are of `form` from now on. `done` is called once, on any thread: ok, or why the old ones stay.
  virtual void AdoptForm(InstanceForm form, std::function<void(Status)> done) = 0;
  // Of kAuto: of which classes it is to hold instances; at least one of them.
  virtual void HoldClasses(bool cpu, bool gpu) = 0;
  // Y_batch and T_batch of the chosen row, for policies that go by them.
  virtual void SetBestBatch(int rows, Duration batch_time) = 0;
};

}  // namespace evenkeel
