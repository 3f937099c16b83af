// When a request that comes now will be answered: what runs has to end, then what waits ahead of it and its own rows run in batches
// that later arrivals fill up; it is answered when its whole batch is.
//
//   answer = caution * (stretch * ceil((ahead + rows)/size) * T(size) + running) / instances,  caution = 1.1
//   0 where nothing stands before it: then it is worth a try.
// `stretch` is what sharing costs: the cores that the instances could use over those that the model can count on (core_shares.h), or
//   what was seen of the time between batches, whichever is more; at least 1.
// Contract: pure, never falls as ahead, rows, running or stretch rise. Units: rows, Duration. Thread-safety: thread-safe.
// Source: A8 (shedding). Used by batching/dispatcher.cc and sim/simulation.cc alike.
#pragma once

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
};

inline Duration PredictedAnswer(const AdmissionView& view) {
  constexpr double kCaution = 1.1;
  if (view.instances <= 0 || (view.rows_ahead == 0 && view.running == Duration::zero())) return {};
  const int64_t batches = (view.rows_ahead + view.rows + view.size - 1) / view.size;
  const double ns =
      view.stretch * static_cast<double>(batches) * static_cast<double>(view.batch_time.count()) +
      static_cast<double>(view.running.count());
  constexpr double kLongest = 9e18;
  return Duration(static_cast<int64_t>(
      ns * kCaution / view.instances < kLongest ? ns * kCaution / view.instances : kLongest));
}

}  // namespace evenkeel::policy
