// Runs a load plan on its threads and gives back one merged record.
//
// Contract: RunLoad() blocks until every request is accounted for, or `interrupted` becomes true
//   (then within 100 ms). Errors (kUnavailable, kDeadlineExceeded): no connection at the start;
//   nothing was sent then.
// Thread-safety: call from one thread at a time.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "core/status.h"
#include "loadgen/load.h"

namespace evenkeel::loadgen {

struct StageRecord {
  Stage stage;
  double seconds = 0;      // from its start until it ended on all threads
  uint64_t held_back = 0;  // sent late because `cap` requests were in flight
  uint64_t not_sent = 0;   // not sent at all because of the cap
};

struct RunRecord {
  Tally tally{0, {}, Duration::zero()};
  std::vector<StageRecord> stages;  // those that began
  double seconds = 0;               // wall, from start to the last answer
  double user_cpu_s = 0, system_cpu_s = 0;
  int most_in_flight = 0;
  bool interrupted = false;
};

// `on_progress` (may be empty) is called about twice a second on the calling thread.
Result<RunRecord> RunLoad(const LoadPlan& plan, const std::atomic<bool>& interrupted,
                          const std::function<void(double seconds, const Progress&)>& on_progress);

}  // namespace evenkeel::loadgen
