#include "llm/policy/answer_lengths.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"

namespace evenkeel::policy {
namespace {

constexpr double kLargestUnit = 1e9;

}  // namespace

size_t AnswerLengths::BucketOf(int64_t length) {
  if (length <= 16) return static_cast<size_t>(length);
  // Above 16 each power of two has four buckets: (2^p (1 + k/4), 2^p (1 + (k+1)/4)].
  const auto last = static_cast<uint64_t>(length - 1);
  const int power = static_cast<int>(std::bit_width(last)) - 1;
  const uint64_t quarter = (last - (uint64_t{1} << power)) >> (power - 2);
  return std::min<size_t>(17 + static_cast<size_t>(power - 4) * 4 + quarter, kBuckets - 1);
}

int64_t AnswerLengths::EndOf(size_t bucket) {
  if (bucket <= 16) return static_cast<int64_t>(bucket);
  const size_t power = 4 + (bucket - 17) / 4;
  const size_t quarter = (bucket - 17) % 4;
  return (int64_t{1} << power) + (int64_t{1} << (power - 2)) * static_cast<int64_t>(quarter + 1);
}

void AnswerLengths::Add(int64_t length) {
  EK_CHECK(length >= 0);
  Bucket& bucket = buckets_[BucketOf(length)];
  const double counted = unit_ * static_cast<double>(length);
  bucket.weight += unit_;
  bucket.sum += counted;
  weight_ += unit_;
  sum_ += counted;
  ++seen_;
  unit_ *= std::exp2(1 / kHalfLife);
  if (unit_ < kLargestUnit) return;
  for (Bucket& one : buckets_) {
    one.weight /= unit_;
    one.sum /= unit_;
  }
  weight_ /= unit_;
  sum_ /= unit_;
  unit_ = 1;
}

double AnswerLengths::ExpectedRest(int64_t told, int64_t most) const {
  const double limit = most > 0 ? static_cast<double>(most) : INFINITY;
  const auto begun = static_cast<double>(told);
  if (begun >= limit) return 0;
  double weight = 0, rest = 0;
  for (size_t i = BucketOf(told); i < kBuckets; ++i) {
    const Bucket& bucket = buckets_[i];
    if (bucket.weight <= 0) continue;
    const double mean = bucket.sum / bucket.weight;
    // In the bucket that it is in, those of the mean length or more are still ahead.
    if (mean <= begun) continue;
    weight += bucket.weight;
    rest += bucket.weight * (std::min(mean, limit) - begun);
  }
  if (weight > 0) return std::clamp(rest / weight, 1.0, limit - begun);
  const double guess = seen_ == 0 ? std::max(kUnknown - begun, 1.0) : std::max(begun, 1.0);
  return std::min(guess, limit - begun);
}

int64_t AnswerLengths::Quantile(double q) const {
  double below = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    below += buckets_[i].weight;
    if (buckets_[i].weight > 0 && below >= q * weight_ * (1 - 1e-12)) return EndOf(i);
  }
  return 0;
}

}  // namespace evenkeel::policy
