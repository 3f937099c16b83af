// What the instances of a model version are made of, as a selector chose it.
//
// Contract: a value; shared by the slots that run it and by whoever describes them, never changed once adopted.
// Units: stated at each field. Thread-safety: a value. Source: A5, A7 (the chosen row), A13.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "batching/policy/batch_curve.h"
#include "containers/shape.h"
#include "core/model_config.h"

namespace evenkeel {

struct InstanceForm {
  std::optional<WorkerShape> shape;  // given to Runtime::Start; empty: no limits
  int threads = 1;                   // engine threads, >= 1; follows the shape: shape->threads()
  Precision precision = Precision::kF32;
  int max_rows = 0;  // largest batch that is known to fit the shape's memory; 0: nothing limits it
  using Timed = policy::BatchCurve::Timed;  // { int rows; Duration mean, p99; }
  std::vector<Timed>
      times;        // the load table's T(n) for this form; seeds the live curve. May be empty
  std::string why;  // for `show` and GET .../batching
  DeviceClass device = DeviceClass::kCpu;  // kCpu, or kGpu: on an accelerator
  DeviceSize device_share;                 // there; 0 cores: the server chooses
  int host_cores = 0;                      // there: cores that a batch keeps busy

  // Cores that an instance keeps busy while it runs a batch.
  double cores() const {
    return device == DeviceClass::kGpu ? host_cores : shape ? shape->cores() : threads;
  }
  // The same, for the node's gate.
  int busy_threads() const { return device == DeviceClass::kGpu ? host_cores : threads; }
  // "1c/512MiB", or "2 threads" where nothing limits it.
  // "accelerator", or "accelerator 8c/1GiB".
  std::string Name() const {
    if (device == DeviceClass::kGpu)
      return device_share.cores > 0 ? "accelerator " + FormatDeviceSize(device_share)
                                    : "accelerator";
    if (shape) return FormatWorkerShape(*shape);
    return std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  }
};

}  // namespace evenkeel
