#include "loadgen/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"

namespace evenkeel::loadgen {

Histogram::Histogram(int precision_bits) : bits_(precision_bits) {
  EK_CHECK(bits_ >= 3 && bits_ <= 16);
}

// Values below 2^bits have a bucket each. Above, each power of two is cut into 2^(bits-1) equal
// buckets.
size_t Histogram::BucketOf(uint64_t value) const {
  if (value < (1ull << bits_)) return value;
  const int shift = static_cast<int>(std::bit_width(value)) - bits_;
  return (static_cast<size_t>(shift) << (bits_ - 1)) + static_cast<size_t>(value >> shift);
}

int64_t Histogram::HighestOf(size_t bucket) const {
  if (bucket < (1ull << bits_)) return static_cast<int64_t>(bucket);
  const size_t half = 1ull << (bits_ - 1);
  const size_t shift = bucket / half - 1;
  const uint64_t top = bucket - shift * half;
  return static_cast<int64_t>(((top + 1) << shift) - 1);
}

void Histogram::Record(int64_t value) {
  value = std::clamp<int64_t>(value, 0, 1ll << 62);
  const size_t bucket = BucketOf(static_cast<uint64_t>(value));
  if (bucket >= counts_.size()) counts_.resize(bucket + bucket / 4 + 64);
  ++counts_[bucket];
  ++count_;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
  sum_ += static_cast<double>(value);
}

void Histogram::Merge(const Histogram& other) {
  EK_CHECK(bits_ == other.bits_);
  if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
  for (size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
}

int64_t Histogram::Quantile(double q) const {
  if (count_ == 0) return 0;
  const auto rank =
      static_cast<uint64_t>(std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(count_)));
  if (rank <= 1) return min_;
  uint64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= rank) return std::min(HighestOf(i), max_);
  }
  return max_;
}

}  // namespace evenkeel::loadgen
