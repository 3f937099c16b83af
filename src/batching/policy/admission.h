// When a request that comes now will be answered: what runs has to end, then what waits ahead of it and its own rows run in batches
// that later arrivals fill up; it is answered when its whole batch is. And whether that is soon enough.
//
//   answer = caution * (T(size) + turn + (batches - 1) * max(stretch * T(size), T(size) + turn) + running) / instances,
//            batches = ceil((ahead + rows)/size), caution = 1.1;
//   0 where nothing stands before it: then it is worth a try.
// Two things are known of what sharing costs. `turn`: how long batches were seen to wait for a core; a time, not a factor: it is the
//   others' batches that are waited for, however small the own ones are. `stretch`: the cores that the instances could use over those that the
//   model can count on (core_shares.h), at least 1: what many batches take on average. The first batch waits for one turn whatever the
//   share is; of the others the worse of the two counts.
// LongestBatch: of rows that are to be answered within `limit`: a quarter of it, so that a row has time for the batch before its own, for the
//   whole of its own, and for what is not foreseen; at any share. Smaller ones for a model that gets little of the cores are a trap where a
//   batch of 1 costs as much as one of 8: the rows that it gets done become fewer, so its share does, so its batches do.
// IsInTime: the prediction, and `lateness` (prediction_error.h) on top of it, within the limit; but what one batch holds needs the prediction
//   alone. Else a model whose answers came late lately takes nothing while a batch of its own runs, and so computes single rows at many
//   times their cost. What is accepted and yet comes too late for its batch is given up before it is computed (Dispatcher::TakeParts).
// Contract: pure, never falls as ahead, rows, running, stretch or turn rise. Units: rows, Duration. Thread-safety: thread-safe.
// Source: A8 (shedding). Used by batching/dispatcher.cc and sim/simulation.cc alike.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/clock.h"

namespace evenkeel::policy {

struct AdmissionView {
  int64_t rows_ahead = 0;  // that wait and are served before it
  int64_t rows = 1;        // its own
  int size = 1;            // rows of the batches that are run meanwhile; >= 1
  Duration batch_time{};   // T(size)
  Duration running{};      // what is left of the batches that run, summed over the instances
  int instances = 0;       // that serve; 0: nothing can be told
  double stretch = 1;
  Duration turn{};
};

constexpr double kCaution = 1.1;

inline Duration LongestBatch(Duration limit) { return limit / 4; }

inline Duration PredictedAnswer(const AdmissionView& view) {
  if (view.instances <= 0 || (view.rows_ahead == 0 && view.running == Duration::zero())) return {};
  const int64_t batches = (view.rows_ahead + view.rows + view.size - 1) / view.size;
  const auto one = static_cast<double>(view.batch_time.count());
  const double first = one + static_cast<double>(view.turn.count());
  const double ns = first + std::max(view.stretch * one, first) * static_cast<double>(batches - 1) +
                    static_cast<double>(view.running.count());
  constexpr double kLongest = 9e18;
  return Duration(static_cast<int64_t>(
      ns * kCaution / view.instances < kLongest ? ns * kCaution / view.instances : kLongest));
}

inline bool IsInTime(const AdmissionView& view, Duration predicted, Duration lateness,
                     Duration limit) {
  if (predicted > limit) return false;
  return predicted + lateness <= limit || view.rows_ahead + view.rows <= view.size;
}

}  // namespace evenkeel::policy
