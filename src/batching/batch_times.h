// The live T(b) of one model: how long a batch of b rows takes.
//
// Contract: Record() keeps an exponentially weighted mean a size (weight 1/8, after the first few plainly averaged). Estimate() answers for any size:
//   the size's own mean; between two measured sizes by linear interpolation; outside them by scaling the nearest
//   (never below it when larger). 0 while nothing was measured.
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

  struct Entry {
    double mean_ns = 0;
    uint64_t count = 0;
  };
  const std::map<int, Entry>& entries() const { return entries_; }

 private:
  std::map<int, Entry> entries_;
};

}  // namespace evenkeel
