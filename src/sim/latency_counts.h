// How many latencies fell where: log-spaced buckets 1 % wide from 1 us to 1,000 s.
//
// Contract: Quantile(q) is the upper end of the bucket of the ceil(q n)-th smallest, so at most 1 % above it; 0 when empty.
// Units: Duration. Thread-safety: thread-compatible. Memory: constant, 17 KiB.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "core/clock.h"

namespace evenkeel::sim {

class LatencyCounts {
 public:
  static constexpr int kBuckets = 2090;  // 1.01^2083 = 1e9

  void Add(Duration latency) {
    const double us = std::max(1.0, static_cast<double>(latency.count()) / 1e3);
    const auto at = static_cast<size_t>(std::min(std::log(us) * kPerE, kBuckets - 1.0));
    ++counts_[at];
    ++total_;
    sum_s_ += Seconds(latency);
  }
  uint64_t total() const { return total_; }
  double mean_s() const { return total_ == 0 ? 0 : sum_s_ / static_cast<double>(total_); }
  double QuantileSeconds(double q) const {
    if (total_ == 0) return 0;
    const auto rank =
        std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(q * static_cast<double>(total_))));
    uint64_t below = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      below += counts_[i];
      if (below >= rank) return UpperSeconds(i);
    }
    return UpperSeconds(kBuckets - 1);
  }
  static double UpperSeconds(size_t bucket) {
    return 1e-6 * std::exp(static_cast<double>(bucket + 1) / kPerE);
  }
  const auto& counts() const { return counts_; }

 private:
  static constexpr double kPerE = 100.49917080713044;  // 1 / ln 1.01
  std::array<uint64_t, kBuckets> counts_{};
  uint64_t total_ = 0;
  double sum_s_ = 0;
};

}  // namespace evenkeel::sim
