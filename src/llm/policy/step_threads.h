// How the threads of a step work together, where others want the cores too.
//
// The threads of a step wait for each other some hundred times, so one that shares its core with another process holds all of them up
// by that process's turns, each longer than a whole step of a small model; or the system puts two of them on one core, where one looks for
// the other's end while that one waits for the core. Seen by what they get: their core time over threads x wall time, smoothed. Where that
// is less than kShared (two that share a core get half, and those that wait for them too), the next steps' threads come and go: one computes all
// of it, and the others help with what begins while they have a core (engines/llamacpp/coming_threads.h).
// Whether the cores are free again shows only by trying: after kTry, then twice as long each time up to kMostTry, a step is of the usual
// kind, and so are the next if its threads got kFree of a core each, as long as they do in the mean of kSure steps.
// Contract: the permitted number, always. Pure: told times only. Units: threads, Duration. Thread-safety: thread-compatible. Source: ours.
#pragma once

#include <algorithm>

#include "core/clock.h"

namespace evenkeel::policy {

class StepThreads {
 public:
  static constexpr double kShared = 0.6, kFree = 0.7;
  static constexpr Duration kTry = std::chrono::seconds(1), kMostTry = std::chrono::seconds(8);
  static constexpr int kSure = 8;  // steps

  struct Choice {
    int threads = 1;
    bool come_and_go = false;
  };
  Choice Choose(int permitted, Time now) {
    if (permitted != threads_) {
      threads_ = permitted;
      got_ = 0;
      seen_ = 0;
      // What others do to the cores is no matter of how many are permitted: it is tried at once.
      wait_ = kTry;
      next_try_ = now;
    }
    trial_ = come_and_go_ && now >= next_try_;
    return {threads_, come_and_go_ && !trial_ && threads_ > 1};
  }

  // `cpu`: core time of all threads in a step that took `took`, as was chosen.
  void Observe(Duration cpu, Duration took, Time now) {
    if (took <= Duration::zero() || threads_ < 2) return;
    const double got = Seconds(cpu) / (threads_ * Seconds(took));
    if (come_and_go_) {
      if (!trial_) return;
      if (got >= kFree) return Settle(false);
      TryLater(now);
      return;
    }
    // A mean at first, so that one step that was held up decides nothing.
    got_ += (got - got_) / std::min(++seen_, kSure);
    if (seen_ < kSure) return;
    if (got_ < kShared) {
      Settle(true);
      return TryLater(now);
    }
    // A trial that was right. One that a lucky moment made is the next one's longer wait.
    wait_ = kTry;
  }

 private:
  void Settle(bool come_and_go) {
    come_and_go_ = come_and_go;
    got_ = 0;
    seen_ = 0;
  }
  void TryLater(Time now) {
    next_try_ = now + wait_;
    wait_ = std::min(2 * wait_, kMostTry);
  }

  int threads_ = 0, seen_ = 0;
  bool come_and_go_ = false;
  bool trial_ = false;  // the step that runs
  double got_ = 0;
  Duration wait_ = kTry;
  Time next_try_{};
};

}  // namespace evenkeel::policy
