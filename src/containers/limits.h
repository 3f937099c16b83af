// What the kernel is told to hold a worker to, and what it says the worker used.
//
// Units: at each field. Thread-safety: values. Source: A3.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "containers/shape.h"

namespace evenkeel {

// The kernel's default period of 100 ms stops a worker of half a core for up to 50 ms at a time; 10 ms stops it for 5.
inline constexpr int64_t kQuotaPeriodUs = 10'000;

struct Limits {
  std::vector<int> cpus;     // processors it may run on; empty: the daemon's
  int milli_cores = 1000;    // its weight against others where cores are short
  bool background = false;   // a twentieth of that weight
  bool quota = false;        // also when they are not: milli_cores of time in each period, no more
  int64_t memory_bytes = 0;  // with swap, 0: no limit
  int pids = 512;            // threads and processes, 1 to 4,194,304

  int64_t quota_us() const { return kQuotaPeriodUs * milli_cores / 1000; }
  // Milli-cores that its weight stands for.
  int weight() const { return background ? milli_cores / 20 : milli_cores; }
};

// Fractions of a core are held by quota; whole cores only by weight, unless `hard_cap` asks for a quota: a worker that
// does more than it should (a runaway thread, a spinning pool) then cannot take its neighbours' time.
Limits LimitsOf(const std::optional<WorkerShape>& shape, std::vector<int> cpus, bool hard_cap);

// Those of a worker that was started with `before` and is to have another shape: what the shape does not say stays.
Limits LimitsFor(const Limits& before, const WorkerShape& shape, bool hard_cap);

// Counted by the kernel since the worker's start. A field that this rung or kernel cannot tell is empty.
struct WorkerUsage {
  std::optional<double> cpu_s;
  std::optional<int64_t> memory_bytes, memory_peak_bytes;
  std::optional<uint64_t> oom_kills;  // times that the memory limit was enforced by killing
  std::optional<uint64_t> periods, throttled_periods;  // of the quota
  std::optional<double> throttled_s;                   // time that threads were held back by it
};

}  // namespace evenkeel
