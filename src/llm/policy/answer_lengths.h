// How long a model's answers are: what a running one will take yet, and how much room they need.
//
// Contract: Add() counts an answer that ended; older ones fade (half after kHalfLife answers). Lengths are kept in buckets that are 1 wide up to
//   16 and a quarter of a power of two beyond, so that means are exact and quantiles within a bucket, at most 25 %. ExpectedRest(told, most) is
//   the mean of min(L, most) - told over the answers L longer than `told` (of its own bucket: all or none), at least 1 while told < most; where no such answer was seen,
//   as much again as was told, within `most`. Before any answer: kUnknown is the mean.
// Memory: constant. Units: tokens. Thread-safety: thread-compatible. Source: issue S3: admission by expectation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace evenkeel::policy {

class AnswerLengths {
 public:
  static constexpr double kUnknown = 128;
  static constexpr double kHalfLife = 1000;

  // REQUIRES: length >= 0.
  void Add(int64_t length);
  double ExpectedRest(int64_t told, int64_t most) const;  // `most` <= 0: no limit
  double mean() const { return weight_ > 0 ? sum_ / weight_ : kUnknown; }
  // The least length that so many of the answers do not exceed, to its bucket's end. 0 < q <= 1. 0: none was seen.
  int64_t Quantile(double q) const;
  int64_t seen() const { return seen_; }

  // The bucket of a length, and the longest length in a bucket.
  static size_t BucketOf(int64_t length);
  static int64_t EndOf(size_t bucket);
  static constexpr size_t kBuckets = 17 + 4 * 26;

 private:
  struct Bucket {
    double weight = 0, sum = 0;
  };
  std::array<Bucket, kBuckets> buckets_{};
  double weight_ = 0, sum_ = 0;
  double unit_ = 1;  // weight of the next answer: grows instead of all others fading
  int64_t seen_ = 0;
};

}  // namespace evenkeel::policy
