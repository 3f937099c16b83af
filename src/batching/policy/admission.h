// When a request that comes now will be answered: what runs has to end, then what waits ahead of it and its own rows run in batches
// that later arrivals fill up; it is answered when its whole batch is.
//
//   answer = caution * (ceil((ahead + rows)/size) * max(stretch * T(size), T(size) + turn) + running) / instances,  caution = 1.1
//   0 where nothing stands before it: then it is worth a try.
// Two things are known of what sharing costs, and the worse one counts: `stretch`, the cores that the instances could use over those
//   that the model can count on (core_shares.h), at least 1; and `turn`, how long batches were seen to wait for a core. The second is a
//   time, not a factor: it is the others' batches that are waited for, however small the own ones are.
// LongestBatch: of rows that are to be answered within `limit`: a quarter of it, so that a row has time for the batch before its own, for the
//   whole of its own, and for what is not foreseen; limit / (1.1 (1 + stretch)) where that is less, so that PredictedAnswer accepts what one
//   batch holds at any stretch. A quarter at any stretch starved models that can count on less than a third of a core; more caution
//   than PredictedAnswer's own made batches of a cheap model so small that twice the core time a row was spent just when there was too much to do.
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

inline Duration LongestBatch(Duration limit, double stretch) {
  const double part = std::max(4.0, kCaution * (1 + stretch));
  return Duration(static_cast<int64_t>(static_cast<double>(limit.count()) / part));
}

inline Duration PredictedAnswer(const AdmissionView& view) {
  if (view.instances <= 0 || (view.rows_ahead == 0 && view.running == Duration::zero())) return {};
  const int64_t batches = (view.rows_ahead + view.rows + view.size - 1) / view.size;
  const auto one = static_cast<double>(view.batch_time.count());
  const double each = std::max(view.stretch * one, one + static_cast<double>(view.turn.count()));
  const double ns = each * static_cast<double>(batches) + static_cast<double>(view.running.count());
  constexpr double kLongest = 9e18;
  return Duration(static_cast<int64_t>(
      ns * kCaution / view.instances < kLongest ? ns * kCaution / view.instances : kLongest));
}

}  // namespace evenkeel::policy
