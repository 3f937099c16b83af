// The live T(b) of one model: how long a batch of b rows takes.
//
// Contract: Record() keeps an exponentially weighted mean a size (weight 1/8, after the first few plainly averaged). Estimate() answers for any size:
//   the size's own mean; between two measured sizes by linear interpolation; outside them by scaling the nearest
//   (never below it when larger). 0 while nothing was measured. AsOfLate() is the same where the size ran lately; the others are what they were at first,
//   times what the batches that did run have become slower or faster since: a host that loses half of its cores shows in all sizes, not only in those that it runs.
// Units: rows, Duration. Thread-safety: thread-compatible.
// Source: A7 (live T(b)); the measured load table refines it later.
#pragma once

#include <cstdint>
#include <map>

#include "core/clock.h"

namespace evenkeel {

class BatchTimes {
 public:
  void Record(int rows, Duration compute);
  // A measured time enters as if it had been recorded often.
  void Set(int rows, Duration mean);
  Duration Estimate(int rows) const;
  Duration AsOfLate(int rows) const;

  struct Entry {
    double mean_ns = 0;
    uint64_t count = 0;
    double first_ns = 0;  // at the drift of then
    uint64_t last = 0;    // which batch of all it was
  };
  const std::map<int, Entry>& entries() const { return entries_; }

 private:
  Duration Between(int rows, double Entry::*what) const;

  std::map<int, Entry> entries_;
  uint64_t batches_ = 0;
  double drift_ = 1;  // of the last batches' times over their first ones
};

}  // namespace evenkeel
