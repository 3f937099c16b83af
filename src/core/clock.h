// Time comes from a Clock, so that tests and the simulator decide what time it is.
//
// Units: Time and Duration are nanoseconds on a monotonic axis; they are not wall-clock time.
// Thread-safety: SteadyClock and ManualClock are thread-safe.
#pragma once

#include <atomic>
#include <chrono>

namespace evenkeel {

using Duration = std::chrono::nanoseconds;
using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;
inline constexpr Time kNever = Time::max();  // "no deadline", "no wake-up"

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  Time Now() const override { return std::chrono::steady_clock::now(); }
  static const SteadyClock& Instance() {
    static const SteadyClock clock;
    return clock;
  }
};

// Starts at 1 s and moves only when told to.
class ManualClock final : public Clock {
 public:
  Time Now() const override { return Time(Duration(now_ns_.load(std::memory_order_relaxed))); }
  void Advance(Duration by) { now_ns_.fetch_add(by.count(), std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> now_ns_{1'000'000'000};  // atomic: tests read it from several threads
};

inline double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace evenkeel
