#include "batching/policy/forecaster.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace evenkeel::policy {
namespace {

class LastValue final : public Forecaster {
 public:
  void Update(double value) override { value_ = value; }
  void Skip(int64_t) override { value_ = 0; }
  double Next() const override { return value_; }
  std::string_view name() const override { return "last"; }

 private:
  double value_ = 0;
};

class Ewma final : public Forecaster {
 public:
  void Update(double value) override {
    count_ = std::min(count_ + 1, 8);
    mean_ += (value - mean_) / count_;
  }
  void Skip(int64_t intervals) override {
    mean_ *= std::pow(7.0 / 8, static_cast<double>(intervals));
  }
  double Next() const override { return mean_; }
  std::string_view name() const override { return "ewma"; }

 private:
  double mean_ = 0;
  int count_ = 0;
};

class Holt final : public Forecaster {
 public:
  void Update(double value) override {
    if (!std::exchange(started_, true)) {
      level_ = value;
      return;
    }
    const double before = level_;
    level_ = kLevel * value + (1 - kLevel) * (level_ + slope_);
    slope_ = kSlope * (level_ - before) + (1 - kSlope) * kDamping * slope_;
  }
  void Skip(int64_t intervals) override {
    // The slope dies away more slowly than the level, and no faster than this.
    const double left = std::pow((1 - kSlope) * kDamping, static_cast<double>(intervals));
    level_ *= left;
    slope_ *= left;
  }
  double Next() const override { return std::max(0.0, level_ + kDamping * slope_); }
  std::string_view name() const override { return "holt"; }

 private:
  static constexpr double kLevel = 0.3, kSlope = 0.2, kDamping = 0.98;
  bool started_ = false;
  double level_ = 0, slope_ = 0;
};

class Autoregressive final : public Forecaster {
 public:
  Autoregressive() {
    weights_.fill(1.0 / kOrder);
    weights_[0] = 0;
    for (size_t i = 0; i < kSize; ++i) covariance_[i][i] = kPrior;
  }

  void Update(double value) override {
    // In units of the recent scale, so that the prior means the same for a model with 1 and one with 1,000 an interval.
    scale_ = std::max({scale_ * kScaleFade, value, 1.0});
    if (++seen_ > kOrder) Learn(value / scale_);
    for (size_t i = kSize - 1; i > 1; --i) last_[i] = last_[i - 1];
    last_[1] = value;
    largest_ = std::max(largest_ * kLargestFade, value);
  }

  void Skip(int64_t intervals) override {
    last_.fill(0);
    largest_ *= std::pow(kLargestFade, static_cast<double>(intervals));
    seen_ += intervals;
  }

  double Next() const override {
    if (seen_ <= kOrder) return last_[1];
    double sum = weights_[0] * scale_;
    for (size_t i = 1; i < kSize; ++i) sum += weights_[i] * last_[i];
    return std::isfinite(sum) ? std::clamp(sum, 0.0, 2 * largest_) : last_[1];
  }
  std::string_view name() const override { return "ar"; }

 private:
  static constexpr int kOrder = 4;
  static constexpr size_t kSize = kOrder + 1;
  static constexpr double kForget = 0.99, kPrior = 10, kCovarianceMax = 1e4;
  static constexpr double kScaleFade = 0.999, kLargestFade = 0.98;

  // Recursive least squares: k = P x / (g + x'P x), w += k (y - w'x), P = (P - k x'P) / g.
  void Learn(double y) {
    std::array<double, kSize> x{1};
    for (size_t i = 1; i < kSize; ++i) x[i] = last_[i] / scale_;
    std::array<double, kSize> px{};
    double xpx = 0, predicted = 0;
    for (size_t i = 0; i < kSize; ++i) {
      for (size_t j = 0; j < kSize; ++j) px[i] += covariance_[i][j] * x[j];
      xpx += x[i] * px[i];
      predicted += weights_[i] * x[i];
    }
    const double gain = 1 / (kForget + xpx);
    const double error = y - predicted;
    // Where nothing excites it, forgetting lets P grow without end: then it stays as it is.
    const double grow = covariance_[0][0] < kCovarianceMax ? 1 / kForget : 1;
    for (size_t i = 0; i < kSize; ++i) {
      weights_[i] += gain * px[i] * error;
      for (size_t j = 0; j < kSize; ++j)
        covariance_[i][j] = (covariance_[i][j] - gain * px[i] * px[j]) * grow;
    }
  }

  std::array<double, kSize> weights_{},
      last_{};  // last_[k]: k intervals ago; [0] belongs to the constant
  std::array<std::array<double, kSize>, kSize> covariance_{};
  double scale_ = 1, largest_ = 0;
  int64_t seen_ = 0;
};

class Seasonal final : public Forecaster {
 public:
  void Update(double value) override {
    const auto x = static_cast<float>(value);
    const auto known = static_cast<size_t>(std::min<int64_t>(seen_, kLags));
    // history_[at_ + k] is the value k + 1 intervals before this one.
    const float* past = history_.data() + at_;
    const float weight = 1.0F / 64;
    for (size_t k = 0; k < kLags; ++k) errors_[k] += weight * (std::abs(x - past[k]) - errors_[k]);
    for (size_t k = known; k < kLags; ++k) errors_[k] = 0;
    Push(x);
    if (seen_ % 8 == 0 || lag_ == 0) Choose();
  }
  double Next() const override {
    // The next value's place one lag back: the last value is one back.
    return lag_ == 0 ? history_[at_] : history_[at_ + lag_ - 1];
  }
  void Skip(int64_t intervals) override {
    for (int64_t i = std::min<int64_t>(intervals, kLags); i > 0; --i) Push(0);
    if (intervals > 0) seen_ += std::max<int64_t>(0, intervals - static_cast<int64_t>(kLags));
  }
  std::string_view name() const override { return "seasonal"; }

 private:
  static constexpr size_t kLags =
      256;  // lag k + 1 stands at k; lag 1 is the last value and not used

  void Push(float x) {
    // Newest first in a buffer that is filled from the back, moved once it is used up.
    if (at_ == 0) {
      std::copy_n(history_.begin(), kLags, history_.end() - kLags);
      at_ = history_.size() - kLags;
    }
    history_[--at_] = x;
    ++seen_;
  }

  void Choose() {
    const auto seasons = std::min<int64_t>(seen_ / 2, static_cast<int64_t>(kLags) - 1);
    if (seasons < 2) return;
    const auto best = std::min_element(errors_.begin() + 1, errors_.begin() + seasons);
    const auto lag = static_cast<size_t>(best - errors_.begin()) + 1;
    // A multiple of the season is as good as the season: it is left only for something clearly better.
    if (lag_ == 0 || *best < 0.9F * errors_[lag_ - 1]) lag_ = lag;
  }

  std::array<float, 4 * kLags> history_{};
  std::array<float, kLags> errors_{};
  size_t at_ = 3 * kLags;
  size_t lag_ = 0;
  int64_t seen_ = 0;
};

}  // namespace

std::unique_ptr<Forecaster> MakeLastValue() { return std::make_unique<LastValue>(); }
std::unique_ptr<Forecaster> MakeEwma() { return std::make_unique<Ewma>(); }
std::unique_ptr<Forecaster> MakeHolt() { return std::make_unique<Holt>(); }
std::unique_ptr<Forecaster> MakeAutoregressive() { return std::make_unique<Autoregressive>(); }
std::unique_ptr<Forecaster> MakeSeasonal() { return std::make_unique<Seasonal>(); }

}  // namespace evenkeel::policy
