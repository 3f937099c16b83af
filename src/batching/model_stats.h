// What one model version counts while it serves. Copied out as a snapshot for statistics, metrics and `ps`.
//
// Units: durations are nanoseconds; histograms in seconds and rows. Thread-safety: thread-compatible (the dispatcher's lock).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>

#include "batching/batch_times.h"
#include "batching/policy/close_reason.h"
#include "batching/policy/late_cost.h"
#include "core/clock.h"
#include "core/histogram.h"
#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

struct CountAndTime {
  uint64_t count = 0;
  Duration time{};
  void Add(Duration t, uint64_t times = 1) {
    count += times;
    time += t;
  }
};

// One batch as it was run.
struct BatchRecord {
  Time closed{};
  int rows = 0;      // of requests
  int run_rows = 0;  // padding included
  int parts = 0;
  CloseReason reason = CloseReason::kIdle;
  Duration oldest_wait{}, gather{}, compute{};
  DeviceClass device = DeviceClass::kCpu;  // where it ran
  bool failed = false;
};

struct ModelStats {
  std::array<uint64_t, kCodeCount> requests{};        // by outcome
  std::array<uint64_t, kCloseReasonCount> batches{};  // by close reason
  uint64_t rows = 0, executions = 0, sheds = 0, reruns = 0;
  CountAndTime success, fail, queue, gather, compute, scatter, cancel;
  struct BySize {
    CountAndTime gather, compute, scatter;
  };
  std::map<int, BySize> by_size;  // rows of requests in the batch
  Histogram request_seconds{kLatencyBounds}, queue_seconds{kLatencyBounds},
      batch_wait_seconds{kLatencyBounds}, compute_seconds{kLatencyBounds}, batch_rows{kBatchBounds};
  BatchTimes times, device_times;  // on the processor, on an accelerator
  policy::LateCost late;           // of a row of requests, on the processor
  std::deque<BatchRecord> recent;  // newest last, at most kRecent
  static constexpr size_t kRecent = 100;
  Time last_inference{};  // zero: never
  int64_t waiting_rows = 0, waiting_bytes = 0;
  int running_batches = 0;
  struct ByDevice {
    uint64_t batches = 0, rows = 0;  // answered by instances of the class
    Duration compute{};              // that all of its batches took, failed ones too
  };
  std::array<ByDevice, 2> by_device;  // kCpu, kGpu
};

}  // namespace evenkeel
