// T(n) of one model on one shape: how long a batch of n rows runs, mean and 99th percentile.
//
// Use for: what a batch costs, live or from a load table. Not for: which shape to run on (profiling/).
// Contract: Record() keeps, a size, an exponentially weighted mean (weight 1/16, after the first 16 plainly averaged) and a tracked
//   99th percentile, p99(n) >= Mean(n). Set() enters a measured row as if it had been recorded often. Mean() and P99() answer for
//   any n >= 1: the size's own figure; between two known sizes the line through them; below the smallest its figure (no batch
//   costs more than a larger one); above the largest its figure times n over its size (at most that, where a batch gains
//   anything). 0 while nothing is known. At most kMaxSizes sizes are kept: a further one takes the place of the inner size
//   that was recorded least recently. What every batch holds its core for beyond the engine's time (hand-over, gathering,
//   waking) is told by SetOverhead() and is part of Mean() and P99(), not of points(). Cost: a binary search; a copy is at most 2 KiB.
// Units: rows, Duration of one batch. Thread-safety: thread-compatible.
// Source: A7 (live T(b)); the measured load table (A4) enters by Set().
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/clock.h"

namespace evenkeel::policy {

class BatchCurve {
 public:
  static constexpr int kMaxSizes = 64;

  // A measured row of a load table. REQUIRES: rows >= 1, 0 < mean <= p99.
  struct Timed {
    int rows = 0;
    Duration mean{}, p99{};
  };

  struct Point {
    int rows = 0;
    float mean_ns = 0;
    float p99_ns = 0;
    float spread_ns = 0;  // weighted mean of |T - mean|: the step of the percentile's tracker
    uint32_t count = 0;
    uint32_t stamp = 0;  // the curve's records when this size was last recorded
  };

  // REQUIRES: rows >= 1. A duration <= 0 is ignored.
  void Record(int rows, Duration took);
  // REQUIRES: rows >= 1, 0 < mean <= p99.
  void Set(int rows, Duration mean, Duration p99);
  // REQUIRES: overhead >= 0.
  void SetOverhead(Duration overhead);
  Duration overhead() const { return overhead_; }

  bool empty() const { return size_ == 0; }
  Duration Mean(int rows) const { return At(rows, &Point::mean_ns); }
  Duration P99(int rows) const { return At(rows, &Point::p99_ns); }
  // Known sizes, ascending.
  std::span<const Point> points() const { return {points_.data(), size_}; }

 private:
  Duration At(int rows, float Point::*figure) const;
  Point* Find(int rows);
  Point& Insert(int rows);

  std::array<Point, kMaxSizes> points_;
  uint32_t size_ = 0;
  uint32_t records_ = 0;
  Duration overhead_{};
};

}  // namespace evenkeel::policy
