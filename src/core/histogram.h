// A histogram with fixed upper bounds, as Prometheus shows it.
//
// Contract: Observe() is a binary search and two additions. Units are the caller's (seconds, rows, rows a second).
// Thread-safety: thread-compatible (guard it with the lock of what it measures).
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace evenkeel {

class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

  void Observe(double value, uint64_t times = 1) {
    const auto at = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
    counts_[static_cast<size_t>(at)] += times;
    total_ += times;
    sum_ += value * static_cast<double>(times);
  }

  const std::vector<double>& bounds() const { return bounds_; }
  // counts()[i]: values in (bounds[i-1], bounds[i]]; the last one: above all bounds.
  const std::vector<uint64_t>& counts() const { return counts_; }
  uint64_t total() const { return total_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
  double sum_ = 0;
};

// 50 us to 30 s, about 2.2 apart.
inline constexpr double kLatencyBounds[] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                            0.005,   0.01,   0.025,   0.05,   0.1,   0.25,
                                            0.5,     1,      2.5,     5,      10,    30};
inline constexpr double kRateBounds[] = {0.1, 0.5, 1,    2.5,  5,    10,    25,    50,    100,
                                         250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000};
inline constexpr double kBatchBounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

}  // namespace evenkeel
