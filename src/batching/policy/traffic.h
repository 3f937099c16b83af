// The arrivals of one model: counted in intervals of its batch time, and forecast at every resolution.
//
// Use for: what the policies, the instance planner and the metrics know of a model's load. The owner calls OnArrival() for each
//   request that comes, also for one it sheds, and SetBatchTime() when T_batch is known or has changed.
// Contract: the interval is max(T_batch, 1 ms); a T_batch within 20 % of the one in use changes nothing (re-binning costs tens
//   of microseconds and forecasts start from the re-binned history). Forecasts are of items. Calls must not go back in time; one
//   that does counts now.
//   What steers (prices, instances, metrics) goes by the finest resolution of half a second and longer; its forecast's errors are
//   kept as a histogram that outlasts changes of T_batch: a count every half second or more, at the arrival that closes the interval.
// Memory: constant, under 128 KiB. Units: items, Duration, Time. Thread-safety: thread-compatible (the model's owner).
// Source: A8, A9.
#pragma once

#include <array>
#include <cstdint>

#include "batching/policy/aggregator.h"
#include "batching/policy/forecast_selector.h"
#include "core/clock.h"
#include "core/histogram.h"

namespace evenkeel::policy {

class Traffic {
 public:
  // The owner calls SetBatchTime() once in so many batches, the first one included.
  static constexpr uint64_t kBatchesPerLook = 64;
  static constexpr Duration kSteering = std::chrono::milliseconds(500);

  explicit Traffic(Time start, Duration batch_time = {});

  void OnArrival(int64_t items, Time now) {
    AdvanceTo(now);
    counts_.Count(1, items);
    last_arrival_ = now;
    total_items_ += items;
  }
  // Closes the intervals that ended by `now`, so that forecasts take a silence in.
  void AdvanceTo(Time now) {
    counts_.AdvanceTo(now, [this](int level, const Bin& bin, int64_t times) {
      const bool steers = level == steering_;
      forecasts_[static_cast<size_t>(level)].Update(
          bin.items, times, steers ? &errors_ : nullptr,
          steers ? 1 / Seconds(counts_.interval(level)) : 1);
    });
  }
  void SetBatchTime(Duration batch_time, Time now);

  // Items that are expected in the interval of `level` that is open now.
  double NextItems(int level) const { return forecasts_[static_cast<size_t>(level)].Next(); }
  // Items a second over the next `span`, by the finest level with intervals of at least that, or the coarsest that has closed two
  // of them; before the first interval has ended by what came so far.
  double RatePerSecond(Duration span, Time now) const;

  int64_t total_items() const { return total_items_; }  // since the start
  Time last_arrival() const { return last_arrival_; }   // Time{} before the first
  const Aggregator& counts() const { return counts_; }
  const ForecastSelector& forecast(int level) const {
    return forecasts_[static_cast<size_t>(level)];
  }
  // The level that steers: the finest with intervals of at least kSteering, or the coarsest.
  int steering() const { return steering_; }
  // Absolute errors of that level's forecast, in items a second.
  const Histogram& errors() const { return errors_; }

 private:
  int SteeringLevel() const;

  Aggregator counts_;
  std::array<ForecastSelector, Aggregator::kLevels> forecasts_;
  int steering_ = 0;
  Histogram errors_{kRateBounds};
  Time start_;
  Time last_arrival_{};
  int64_t total_items_ = 0;
};

}  // namespace evenkeel::policy
