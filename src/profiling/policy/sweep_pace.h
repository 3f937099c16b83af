// When a sweep may work beside serving, and which of its stints count.
//
// Contract:
//   - While the node serves (something was asked within the last `free_after`) the core time of stints is at most `share` of what the
//     cores gave meanwhile: after a stint of s core-seconds the next one may begin once s / (share x cores) seconds have passed since
//     that stint began. Time in which nothing was done is not saved up.
//   - While nothing is asked stints follow one another freely.
//   - While a queue has formed (an item has waited for kQueueShare of its objective) none may begin, and a stint that ends with one is
//     thrown away. So is one whose threads waited for a core for more than kWaitShare of its length: its times are not the
//     model's. After kMostDisturbed of these in a row they count all the same, until one is undisturbed: a machine that is never
//     quiet is measured, too. Whoever counts takes the waiting off the times (own_time.h).
// Units: core-seconds, Time. Thread-safety: thread-compatible; no clock inside. Source: A4 (it runs by itself beside serving).
#pragma once

#include <string_view>

#include "core/clock.h"

namespace evenkeel {

// A short run of batches (or the start of a worker) without a pause.
struct Stint {
  Duration wall{};
  double core_s = 0;  // core time that the worker used
  double wait_s = 0;  // time that its threads were runnable and had no core, where the kernel tells
};

// What the models do now, taken together.
struct ServingState {
  Time last_arrival{};  // of any request; Time{} before the first
  double worst_wait =
      0;  // largest wait of an item that has no core yet, as a share of its model's objective
};

struct SweepPaceOptions {
  double share = 0.1;  // of the machine, while it serves; 0 < share <= 1
  int cores = 1;
  Duration free_after = std::chrono::seconds(5);
};

class SweepPace {
 public:
  static constexpr double kQueueShare = 0.1;
  static constexpr double kWaitShare = 0.05;
  static constexpr int kMostDisturbed = 20;
  static constexpr Duration kLook = std::chrono::milliseconds(20);  // while a queue is there

  explicit SweepPace(const SweepPaceOptions& options) : options_(options) {}

  struct Verdict {
    bool run = false;
    Time look_again = kNever;  // when not
    std::string_view why;      // when not: "requests wait", "its share of the machine is used up"
  };
  Verdict MayBegin(const ServingState& serving, Time now) const;
  void Began(Time now) { began_ = now; }
  // Whether the stint counts. REQUIRES: Began() before.
  bool Ended(const Stint& stint, const ServingState& serving, Time now);

 private:
  bool Serves(const ServingState& serving, Time now) const;

  const SweepPaceOptions options_;
  Time began_{};
  Time next_{};        // no stint before, while the node serves
  int disturbed_ = 0;  // in a row
};

}  // namespace evenkeel
