// Counts arrivals in intervals: the time series that forecasts are made from, at four resolutions.
//
// Use for: one model; the owner counts at arrival, rows that are shed too. Not for: forecasts (traffic.h puts both together).
// Contract: level r has intervals of interval() * 8^r, half open, starting at multiples of their length, so that one interval of a
//   level is exactly eight of the level below. The last kBins closed ones of each level are kept.
//   AdvanceTo(now) closes the intervals that ended at or before `now` and tells them in order, level by level, as
//   closed(level, bin, times); times > 1 only for empty ones. Count() adds to the open interval of every level, so the
//   owner advances first. Time that goes back counts in the open interval.
//   SetInterval() re-bins: what was counted is spread evenly over the new intervals that its old one overlaps (bins become
//   fractional), so that sums over spans keep their value; new intervals that reach beyond the history are left out.
// Cost: Count() O(1); AdvanceTo() O(1) a closed interval, and a silence of any length at most kBins of them; SetInterval()
//   O(kBins), some 50 us: for changes that last, not for each batch. Memory: constant, 4 x kBins x 8 bytes = 64 KiB.
// Units: Time, Duration, counts. Thread-safety: thread-compatible.
// Source: A8.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/clock.h"

namespace evenkeel::policy {

struct Bin {
  float requests = 0;
  float items = 0;
};

class Aggregator {
 public:
  static constexpr int kLevels = 4;
  static constexpr int kBins = 2048;

  // REQUIRES: interval > 0.
  Aggregator(Duration interval, Time start);

  template <typename Closed>
  void AdvanceTo(Time now, Closed&& closed) {
    if (now < next_close_) return;
    for (int r = 0; r < kLevels; ++r) {
      Level& level = levels_[static_cast<size_t>(r)];
      const int64_t index = IndexOf(now, r);
      if (index <= level.index) continue;
      const Bin full = level.open;
      const int64_t empty = Close(level, index);
      closed(r, full, int64_t{1});
      if (empty > 0) closed(r, Bin{}, empty);
    }
    next_close_ = open_since(0) + interval(0);
  }
  void Count(int64_t requests, int64_t items) {
    for (Level& level : levels_) {
      level.open.requests += static_cast<float>(requests);
      level.open.items += static_cast<float>(items);
    }
  }
  // REQUIRES: interval > 0, advanced to `now`.
  void SetInterval(Duration interval, Time now);

  Duration interval(int level) const { return Duration(interval_ns_ << (3 * level)); }
  // Closed bins that are known, at most kBins.
  int size(int level) const { return At(level).size; }
  // `back` = 0: the last closed one. REQUIRES: 0 <= back < size(level).
  const Bin& at(int level, int back) const {
    const Level& l = At(level);
    return l.ring[static_cast<size_t>(l.index - 1 - back) % kBins];
  }
  const Bin& open(int level) const { return At(level).open; }
  Time open_since(int level) const { return Time(interval(level) * At(level).index); }

 private:
  struct Level {
    std::vector<Bin> ring = std::vector<Bin>(kBins);  // the bin of index i stands at i % kBins
    int64_t index = 0;  // of the open interval: its start over its length
    int size = 0;
    Bin open;
  };

  const Level& At(int level) const { return levels_[static_cast<size_t>(level)]; }
  int64_t IndexOf(Time t, int level) const {
    return t.time_since_epoch().count() / interval(level).count();
  }
  // Closes the open interval and the empty ones before `index`; returns how many of these there were.
  static int64_t Close(Level& level, int64_t index);
  Level Rebinned(const Level& old, int64_t old_ns, int64_t new_ns, Time now) const;

  int64_t interval_ns_;
  std::array<Level, kLevels> levels_;
  Time next_close_;
};

}  // namespace evenkeel::policy
