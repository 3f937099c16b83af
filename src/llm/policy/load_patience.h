// How long a process that served, and ended, is waited for until it has loaded again.
//
// Contract: it is hopeless once kAttempts attempts to load it failed and kLeast has passed since it served, so that a file that is being replaced or memory that is being
//   given back fails nobody; and once kMost, or three times what its first load took, has passed, however the attempts go. It is no longer once it has loaded.
// Pure: told times only. Thread-safety: single-owner.
#pragma once

#include <algorithm>
#include <optional>

#include "core/clock.h"

namespace evenkeel::policy {

class LoadPatience {
 public:
  static constexpr int kAttempts = 5;
  static constexpr Duration kLeast = std::chrono::seconds(10), kMost = std::chrono::seconds(60);

  explicit LoadPatience(Duration least = kLeast) : least_(least) {}

  // It serves. `took`: from its start.
  void OnLoaded(Duration took) {
    if (!first_load_) first_load_ = took;
    down_since_.reset();
    failed_ = 0;
    hopeless_ = false;
  }
  void OnEnded(Time now) {
    if (!down_since_) down_since_ = now;
  }
  // An attempt ended without having loaded.
  void OnFailed() { ++failed_; }
  // When to Look() at the latest; kNever: it serves, or is given up.
  Time due() const {
    if (!down_since_ || hopeless_) return kNever;
    return *down_since_ + std::max<Duration>(kMost, 3 * first_load_.value_or(Duration::zero()));
  }
  // True once, when it becomes hopeless.
  bool Look(Time now) {
    if (!down_since_ || hopeless_) return false;
    hopeless_ = now >= due() || (failed_ >= kAttempts && now - *down_since_ >= least_);
    return hopeless_;
  }
  bool hopeless() const { return hopeless_; }

 private:
  const Duration least_;
  std::optional<Duration> first_load_;
  std::optional<Time> down_since_;
  int failed_ = 0;
  bool hopeless_ = false;
};

}  // namespace evenkeel::policy
