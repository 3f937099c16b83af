// Forecasts with whichever of a family has erred least lately, and never loses to the last value.
//
// Contract: the member with the least recent mean absolute error (weight 1/32) is followed; another one takes over only when its
//   error is below 0.9 of the followed one's. With x the value, l the last value's forecast and f the followed member's, the
//   forecast is l + clamp(f - l, -B, B), where the budget
//     B = sum |x - l| - sum |x - forecast| + 0.005 sum |x - l|
//   over all that has been seen. Since ||x - forecast| - |x - l|| <= |forecast - l| <= B, the sum of absolute errors never
//   exceeds 1.005 times the last value's, over any series and at every point of it (test: adversarial series); where another
//   member does better, B grows and binds no more.
//   After kFed empty intervals in a row the rest of a silence is skipped (Forecaster::Skip): its length costs nothing, and the bound
//   above holds for what was fed.
// Units: counts an interval. Thread-safety: thread-compatible. Source: A9.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "batching/policy/forecaster.h"
#include "core/histogram.h"

namespace evenkeel::policy {

class ForecastSelector {
 public:
  static constexpr int kMembers = 5;
  static constexpr int kFed = 8;

  ForecastSelector();

  // `times` intervals with `value` each have ended. `errors`, if given, gets the absolute error of each, `scale` times.
  void Update(double value, int64_t times = 1, Histogram* errors = nullptr, double scale = 1);
  double Next() const { return next_; }

  std::string_view followed() const { return members_[followed_].forecaster->name(); }
  int64_t seen() const { return seen_; }
  // Sums of absolute errors since the start, of what was forecast and of the last value.
  double error_sum() const { return error_sum_; }
  double last_value_error_sum() const { return last_error_sum_; }
  double last_actual() const { return last_; }

 private:
  struct Member {
    std::unique_ptr<Forecaster> forecaster;
    double recent_error = 0;
    double next = 0;
  };
  void UpdateOne(double value);
  void Choose();

  std::array<Member, kMembers> members_;  // [0]: the last value
  size_t followed_ = 0;
  double next_ = 0, last_ = 0;
  double error_sum_ = 0, last_error_sum_ = 0;
  int64_t seen_ = 0;
  int64_t empty_run_ = 0;  // empty intervals up to now
};

}  // namespace evenkeel::policy
