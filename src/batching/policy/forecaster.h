// Forecasts the next value of a series of counts from the ones before it.
//
// Contract: Update() takes the value of the interval that just ended; Next() is the forecast of the one that follows, finite and
//   >= 0 whatever came before; 0 before the first Update(). Deterministic. Constant memory; Update() at most 1 us for all of
//   them together (bench/batching_policy.cc). Values must be finite and >= 0.
// The family, x the last value, f the forecast:
//   last      f = x
//   ewma      f += (x - f) / 8, the plain mean at first
//   holt      level l = 0.3 x + 0.7 (l + b), slope b = 0.2 (l - l before) + 0.8 * 0.98 b, f = l + 0.98 b (damped trend)
//   ar        f = w_0 + sum over the last 4 values of w_k x_k; w by recursive least squares with forgetting 0.99 and a prior
//             towards the mean of the four; f is kept within [0, twice the largest of the last 32]
//   seasonal  f = the value one season before the next, the season being the lag of 2 to 255 with the least recent error of
//             that rule (weight 1/64, once two seasons were seen)
// Units: counts an interval. Thread-safety: thread-compatible.
// Source: A9.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace evenkeel::policy {

class Forecaster {
 public:
  virtual ~Forecaster() = default;
  virtual void Update(double value) = 0;
  virtual double Next() const = 0;
  // As `intervals` times Update(0), roughly, after at least eight of those: O(1), but for the seasons' 256 steps at most.
  virtual void Skip(int64_t intervals) = 0;
  virtual std::string_view name() const = 0;
};

std::unique_ptr<Forecaster> MakeLastValue();
std::unique_ptr<Forecaster> MakeEwma();
std::unique_ptr<Forecaster> MakeHolt();
std::unique_ptr<Forecaster> MakeAutoregressive();
std::unique_ptr<Forecaster> MakeSeasonal();

}  // namespace evenkeel::policy
