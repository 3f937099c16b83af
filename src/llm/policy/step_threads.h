// How many of its threads a step takes, where others want the cores too.
//
// The threads of a step wait for each other some hundred times, so one that shares its core with another process holds all of them up
// by that process's turns, each longer than a whole step of a small model; or the system puts two of them on one core, where one looks for
// the other's end while that one waits for the core. Seen by what they get: their core time over threads x wall time, smoothed. Where that
// is less than kShared, one thread fewer takes the next steps (two that share a core get half, and those that wait for them too).
// Whether the cores are free again shows only by trying: after kTry, then twice as long each time up to kMostTry, kTrial steps take one
// thread more; they stay if each gets kFree of a core.
// Contract: between 1 and what is permitted; the permitted number where that gets its cores. What is tried costs at most kTrial steps
// in kTry. Pure: told times only. Units: threads, Duration. Thread-safety: thread-compatible. Source: ours.
#pragma once

#include <algorithm>

#include "core/clock.h"

namespace evenkeel::policy {

class StepThreads {
 public:
  static constexpr double kShared = 0.6, kFree = 0.7;
  static constexpr Duration kTry = std::chrono::seconds(1), kMostTry = std::chrono::seconds(8);
  static constexpr int kTrial = 1, kSure = 8;  // steps

  int Choose(int permitted, Time now) {
    if (permitted != permitted_) {
      permitted_ = permitted;
      Settle(permitted);
      wait_ = kTry;
    }
    if (trial_ == 0 && threads_ < permitted_ && now >= next_try_) {
      Settle(threads_ + 1);
      trial_ = kTrial;
    }
    return threads_;
  }

  // `cpu`: core time of all threads in a step that took `took` with as many threads as were chosen.
  void Observe(Duration cpu, Duration took, Time now) {
    if (took <= Duration::zero()) return;
    // A mean at first, so that one step that was held up decides nothing.
    got_ += (Seconds(cpu) / (threads_ * Seconds(took)) - got_) / std::min(++seen_, kSure);
    if (trial_ > 0) {
      if (--trial_ > 0) return;
      if (got_ >= kFree) {
        wait_ = kTry;
        next_try_ = now + wait_;
        return;
      }
      Fewer(now);
      wait_ = std::min(2 * wait_, kMostTry);
      return;
    }
    if (threads_ > 1 && seen_ >= kSure && got_ < kShared) Fewer(now);
  }

 private:
  void Settle(int threads) {
    threads_ = threads;
    got_ = 0;
    seen_ = trial_ = 0;
  }
  void Fewer(Time now) {
    Settle(threads_ - 1);
    next_try_ = now + wait_;
  }

  int permitted_ = 0, threads_ = 0, seen_ = 0, trial_ = 0;
  double got_ = 0;
  Duration wait_ = kTry;
  Time next_try_{};
};

}  // namespace evenkeel::policy
