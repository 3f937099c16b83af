// The lag of this process's loops (policy/loop_lag.h), told by the loops and read by every admission.
//
// Contract: Saw() some hundred times a second, Lag() as often as requests come: it takes no lock. Zero until enough was seen, and again once nothing was for LoopLag::kSpan.
// Thread-safety: thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "batching/policy/loop_lag.h"
#include "core/clock.h"

namespace evenkeel {

class LoopLagGauge {
 public:
  // At `now` a loop got to something that had been ready for `late`.
  void Saw(Time now, Duration late) {
    const std::lock_guard lock(mutex_);
    looks_.Saw(now, late);
    lag_ns_.store(looks_.Value(now).count(), std::memory_order_relaxed);
    last_ns_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
  // The two figures may be of two looks, which does not matter: each is right within 10 ms.
  Duration Lag(Time now) const {
    const Time last{Duration(last_ns_.load(std::memory_order_relaxed))};
    if (now - last >= policy::LoopLag::kSpan) return {};
    return Duration(lag_ns_.load(std::memory_order_relaxed));
  }

 private:
  std::mutex mutex_;
  policy::LoopLag looks_;            // guarded by mutex_
  std::atomic<int64_t> lag_ns_{0};   // read without the mutex, by every request
  std::atomic<int64_t> last_ns_{0};  // of the latest look, since the clock's epoch
};

}  // namespace evenkeel
