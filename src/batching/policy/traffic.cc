#include "batching/policy/traffic.h"

#include <cmath>

namespace evenkeel::policy {
namespace {

constexpr Duration kLeastInterval = std::chrono::milliseconds(1);
constexpr double kWorthRebinning = 0.2;
constexpr int kReplayed = 128;  // intervals that fresh forecasters learn from

}  // namespace

Traffic::Traffic(Time start, Duration batch_time)
    : counts_(std::max(batch_time, kLeastInterval), start),
      steering_(SteeringLevel()),
      start_(start) {}

int Traffic::SteeringLevel() const {
  int level = 0;
  while (level + 1 < Aggregator::kLevels && counts_.interval(level) < kSteering) ++level;
  return level;
}

void Traffic::SetBatchTime(Duration batch_time, Time now) {
  const Duration interval = std::max(batch_time, kLeastInterval);
  const double ratio =
      static_cast<double>(interval.count()) / static_cast<double>(counts_.interval(0).count());
  if (std::abs(ratio - 1) < kWorthRebinning) return;
  AdvanceTo(now);
  counts_.SetInterval(interval, now);
  steering_ = SteeringLevel();
  for (int level = 0; level < Aggregator::kLevels; ++level) {
    ForecastSelector& forecast = forecasts_[static_cast<size_t>(level)];
    forecast = ForecastSelector();
    for (int back = std::min(kReplayed, counts_.size(level)) - 1; back >= 0; --back)
      forecast.Update(counts_.at(level, back).items);
  }
}

double Traffic::RatePerSecond(Duration span, Time now) const {
  int level = 0;
  while (level + 1 < Aggregator::kLevels && counts_.interval(level) < span) ++level;
  // The first interval of a level began before the model did: alone it tells too little.
  while (level > 0 && forecasts_[static_cast<size_t>(level)].seen() < 2) --level;
  if (forecasts_[static_cast<size_t>(level)].seen() > 0)
    return NextItems(level) / Seconds(counts_.interval(level));
  const Duration passed = now - start_;
  return passed > Duration::zero() ? counts_.open(0).items / Seconds(passed) : 0;
}

}  // namespace evenkeel::policy
