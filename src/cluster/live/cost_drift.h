// What something costs by measurements that scatter, and whether it still costs that: a mean, its noise, and a test for a change that lasts.
//
// Two-sided self-starting CUSUM of the logarithm: z = (ln x - mean) / noise, both of the values before, cut to +-kMostScore so that a single outlier says
//   little; S = max(0, S + z - k), and the same for -z. One of them above kLimit: the cost has changed. k is half of the change that is looked for, which is the noise,
//   and kLeastChange where that is less. After a change the mean is that of the latest values, as many of the last kRecent as make the change most likely. The first kLearn
//   values have their median for a mean.
// By these parameters, and steady noise that is normal in the logarithm, a false alarm comes once in 10^6 values and more (ARL by Siegmund's formula: 10^7); ten times
//   the cost is noticed at the fifth value, half as much again at 20 % noise at about the tenth.
// Contract: OnCost() returns a change at most once for each. Deterministic. Units: those of the cost; noise is that of the logarithm (0.2: 20 %).
// Thread-safety: single-owner. Source: Page, Biometrika 41 (1954); Hawkins, The Statistician 36 (1987).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace evenkeel {

class CostDrift {
 public:
  static constexpr int kLearn = 10;    // values before a change can be seen
  static constexpr int kMemory = 200;  // values that the mean forgets in
  static constexpr int kRecent = 16;
  static constexpr double kLimit = 15;                        // of S, in units of noise
  static constexpr double kMostScore = 4;                     // of a value
  static constexpr double kLeastChange = 0.2231435513142097;  // ln 1.25
  static constexpr double kPriorNoise = 0.2, kLeastNoise = 0.05;

  struct Change {
    double before = 0, after = 0;
  };

  // REQUIRES: cost > 0, finite.
  std::optional<Change> OnCost(double cost);

  bool known() const { return count_ > 0; }
  double cost() const;  // 0: not known
  double noise() const;
  // Values since the last change, those that showed it counted in.
  int64_t count() const { return count_; }

 private:
  std::optional<Change> Test(double x, double noise_now);
  void Learn(double x, double noise_now);
  void BeginAnew();
  double MedianOfLearnt() const;  // REQUIRES: kLearn values were seen

  double mean_ = 0;  // of the logarithm
  double variance_ = kPriorNoise * kPriorNoise;
  int64_t count_ = 0;
  int64_t seen_ = 0;          // values ever: the noise is not learnt anew after a change
  int64_t next_ = 0;          // of recent_
  double up_ = 0, down_ = 0;  // S of either side
  std::array<double, kRecent> recent_{};  // logarithms, a ring of all that were seen
};

}  // namespace evenkeel
