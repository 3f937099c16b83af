#include "profiling/reservoir.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace evenkeel {

double Reservoir::Uniform() {
  // 53 random bits, moved off zero: log() needs it.
  return (static_cast<double>(random_() >> 11) + 0.5) * 0x1p-53;
}

void Reservoir::LowerThreshold(int64_t keys) {
  threshold_ *= std::exp(std::log(Uniform()) / static_cast<double>(keys));
  threshold_ = std::max(threshold_, std::numeric_limits<double>::min());
  kept_below_ = keys - 1;
}

int64_t Reservoir::TakeSkip() {
  if (size_ < capacity_ && kept_below_ > 0) {
    // Of n rows m were kept, and the threshold is the key of the next: on average (m + 1)/(n + 1).
    // A new row that fills a free place has to get the chance that the others had: m/n.
    const auto kept = static_cast<double>(kept_below_);
    threshold_ *= kept / (kept + 1);
    kept_below_ = 0;
  }
  if (threshold_ >= 1.0) return 0;
  const double skip = std::floor(std::log(Uniform()) / std::log1p(-threshold_));
  return skip < static_cast<double>(kLongestSkip) ? static_cast<int64_t>(skip) : kLongestSkip;
}

int64_t Reservoir::Admit() {
  if (size_ < capacity_) return size_++;
  // Of capacity + 1 rows the one with the largest key leaves: any of them with equal chance, the
  // new one too.
  const int64_t leaves = std::uniform_int_distribution<int64_t>(0, capacity_)(random_);
  LowerThreshold(capacity_ + 1);
  return leaves == capacity_ ? kNotKept : leaves;
}

int64_t Reservoir::Evict() {
  EK_CHECK(size_ > 0);
  const int64_t leaves = std::uniform_int_distribution<int64_t>(0, size_ - 1)(random_);
  LowerThreshold(size_);
  --size_;
  return leaves;
}

void Reservoir::Restore(int64_t size, double threshold) {
  EK_CHECK(size >= 0 && size <= capacity_ && threshold > 0 && threshold <= 1);
  size_ = size;
  threshold_ = threshold;
  kept_below_ = threshold < 1 && size == capacity_ ? size : 0;
}

}  // namespace evenkeel
