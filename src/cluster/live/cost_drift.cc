#include "cluster/live/cost_drift.h"

#include <algorithm>
#include <cmath>

namespace evenkeel {
namespace {

constexpr double kPriorCount = 5;  // values that kPriorNoise counts as
constexpr double kNoiseScore = 2;
constexpr double kNoiseFactor = 1.0863;  // 1 / E[min(z^2, 4)] of a normal z

}  // namespace

double CostDrift::cost() const { return count_ > 0 ? std::exp(mean_) : 0; }

double CostDrift::noise() const { return std::max(kLeastNoise, std::sqrt(variance_)); }

std::optional<CostDrift::Change> CostDrift::Test(double x, double noise_now) {
  const double z = std::clamp((x - mean_) / noise_now, -kMostScore, kMostScore);
  const double k = std::max(noise_now, kLeastChange) / 2 / noise_now;
  up_ = std::max(0.0, up_ + z - k);
  down_ = std::max(0.0, down_ - z - k);
  if (std::max(up_, down_) <= kLimit) return std::nullopt;
  Change change;
  change.before = std::exp(mean_);
  BeginAnew();
  change.after = std::exp(mean_);
  return change;
}

// The change began m values ago with the m for which  m (mean of those - mean before)^2  is greatest: the likeliest, if the noise is as it was.
void CostDrift::BeginAnew() {
  double sum = 0, best = -1, mean = mean_;
  for (int64_t m = 1; m <= std::min<int64_t>(kRecent, next_); ++m) {
    sum += recent_[static_cast<size_t>((next_ - m) % kRecent)];
    const auto n = static_cast<double>(m);
    const double score = n * (sum / n - mean_) * (sum / n - mean_);
    if (score <= best) continue;
    best = score;
    mean = sum / n;
    count_ = m;
  }
  mean_ = mean;
  up_ = down_ = 0;
}

double CostDrift::MedianOfLearnt() const {
  std::array<double, kLearn> last{};
  for (int i = 0; i < kLearn; ++i)
    last[static_cast<size_t>(i)] = recent_[static_cast<size_t>((next_ - 1 - i) % kRecent)];
  std::ranges::sort(last);
  return (last[kLearn / 2 - 1] + last[kLearn / 2]) / 2;
}

void CostDrift::Learn(double x, double noise_now) {
  ++count_;
  ++seen_;
  if (count_ == 1) {
    mean_ = x;
    return;
  }
  // Cut as in the test, so that neither an outlier nor a change that is not noticed yet drags the mean along.
  const double far = std::clamp(x - mean_, -kMostScore * noise_now, kMostScore * noise_now);
  mean_ += far / static_cast<double>(std::min<int64_t>(count_, kMemory));
  // A change within the first values would drag their mean along for long.
  if (count_ == kLearn) mean_ = MedianOfLearnt();
  const double weight = 1 / (kPriorCount + static_cast<double>(std::min<int64_t>(seen_, kMemory)));
  // Cut lower for the noise: else a change that comes while the cost is learnt passes for noise, and is never seen. What that takes off noise that
  // is normal is put back on.
  const double cut = std::clamp(far, -kNoiseScore * noise_now, kNoiseScore * noise_now);
  // The deviation of a value from the mean of n others is larger than from the true one by (1 + 1/n).
  const double n = static_cast<double>(std::min<int64_t>(count_ - 1, kMemory));
  variance_ += weight * (kNoiseFactor * cut * cut * n / (n + 1) - variance_);
}

std::optional<CostDrift::Change> CostDrift::OnCost(double cost) {
  const double x = std::log(cost);
  const double noise_now = noise();
  recent_[static_cast<size_t>(next_++ % kRecent)] = x;
  if (count_ >= kLearn) {
    // The value that shows the change is in the new mean already.
    if (const auto change = Test(x, noise_now)) return change;
  }
  Learn(x, noise_now);
  return std::nullopt;
}

}  // namespace evenkeel
