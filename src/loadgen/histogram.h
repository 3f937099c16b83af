// Latencies in logarithmic buckets that are cut linearly: constant relative error, constant cost,
// mergeable.
//
// Contract: every value between 0 and 2^62 is counted, none is dropped. Quantile(q) returns v'
//   with v <= v' <= v * (1 + 2^(1 - precision_bits)) for the true order statistic v = the ceil(q
//   n)-th smallest; the largest and smallest value are exact. 11 bits keep three significant
//   digits, 7 bits two.
// Units: the caller's (nanoseconds everywhere in loadgen).
// Thread-safety: thread-compatible. Memory: 8 bytes a bucket up to the largest value seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace evenkeel::loadgen {

class Histogram {
 public:
  // `precision_bits` in [3, 16].
  explicit Histogram(int precision_bits = 11);

  // Negative values count as 0 (a clock read across cores may be off by nanoseconds).
  void Record(int64_t value);
  // REQUIRES: the same precision_bits.
  void Merge(const Histogram& other);

  uint64_t count() const { return count_; }
  int64_t min() const { return count_ == 0 ? 0 : min_; }
  int64_t max() const { return max_; }
  double Mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  // q in [0, 1]; 0 when empty.
  int64_t Quantile(double q) const;

 private:
  size_t BucketOf(uint64_t value) const;
  int64_t HighestOf(size_t bucket) const;  // largest value that falls into the bucket

  int bits_;
  uint64_t count_ = 0;
  int64_t min_ = INT64_MAX;
  int64_t max_ = 0;
  double sum_ = 0;
  std::vector<uint64_t> counts_;
};

}  // namespace evenkeel::loadgen
