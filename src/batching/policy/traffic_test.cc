#include "batching/policy/traffic.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <vector>

#include "batching/policy/aggregator.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

Time At(Duration since_start) { return Time(since_start); }

struct Event {
  Time at;
  int64_t items;
};

std::vector<Event> DrawEvents() {
  const auto gaps = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::pair<int, int>>>(
      rc::gen::pair(rc::gen::inRange(0, 20'000'000), rc::gen::inRange(1, 9))));
  std::vector<Event> events;
  Time at = At(5s);
  for (const auto& [gap, items] : gaps) events.push_back({at += Duration(gap), items});
  return events;
}

// Every interval's count straight from the events.
RC_GTEST_PROP(AggregatorProperty, CountsLikeAScanOverAllEvents, ()) {
  const auto events = DrawEvents();
  const Duration interval = *rc::gen::inRange(500'000, 5'000'000) * 1ns;
  Aggregator counts(interval, At(5s));
  std::array<int64_t, Aggregator::kLevels> told{};
  const auto ignore = [&](int level, Bin, int64_t times) {
    told[static_cast<size_t>(level)] += times;
  };
  for (const Event& e : events) {
    counts.AdvanceTo(e.at, ignore);
    counts.Count(1, e.items);
  }
  for (int level = 0; level < Aggregator::kLevels; ++level) {
    RC_ASSERT(told[static_cast<size_t>(level)] >= counts.size(level));
    for (int back = 0; back < counts.size(level); ++back) {
      const Time from = counts.open_since(level) - (back + 1) * counts.interval(level);
      double requests = 0, items = 0;
      for (const Event& e : events) {
        if (e.at < from || e.at >= from + counts.interval(level)) continue;
        requests += 1;
        items += static_cast<double>(e.items);
      }
      RC_ASSERT(counts.at(level, back).requests == requests);
      RC_ASSERT(counts.at(level, back).items == items);
    }
  }
}

double Sum(const Aggregator& counts, int level) {
  double sum = counts.open(level).items;
  for (int back = 0; back < counts.size(level); ++back) sum += counts.at(level, back).items;
  return sum;
}

RC_GTEST_PROP(AggregatorProperty, RebinningKeepsWhatItCovers, ()) {
  const auto events = DrawEvents();
  Aggregator counts(1ms, At(5s));
  const auto ignore = [](int, Bin, int64_t) {};
  double all = 0;
  for (const Event& e : events) {
    counts.AdvanceTo(e.at, ignore);
    counts.Count(1, e.items);
    all += static_cast<double>(e.items);
  }
  const Time now = events.back().at;
  const Duration interval = *rc::gen::inRange(300'000, 9'000'000) * 1ns;
  counts.SetInterval(interval, now);
  RC_ASSERT(counts.interval(0) == interval);
  for (int level = 0; level < Aggregator::kLevels; ++level) {
    RC_ASSERT(counts.open_since(level) <= now);
    RC_ASSERT(now < counts.open_since(level) + counts.interval(level));
    // Only the oldest interval, which the history covers in part, may be missing.
    const double sum = Sum(counts, level);
    RC_ASSERT(sum <= all * (1 + 1e-4) + 1e-3);
    const Time covered = counts.open_since(level) - counts.size(level) * counts.interval(level);
    double must = 0;
    const Duration oldest = counts.interval(level) + 1ms * (1 << (3 * level));  // new and old
    for (const Event& e : events) {
      if (e.at >= covered + oldest) must += static_cast<double>(e.items);
    }
    RC_ASSERT(sum >= must * (1 - 1e-4) - 1e-3);
  }
}

TEST(AggregatorTest, ASilenceOfDaysIsClosedAtOnce) {
  Aggregator counts(1ms, At(1s));
  counts.Count(1, 3);
  int calls = 0;
  int64_t intervals = 0;
  counts.AdvanceTo(At(std::chrono::hours(100)), [&](int level, Bin, int64_t times) {
    ++calls;
    if (level == 0) intervals += times;
  });
  EXPECT_EQ(calls, 2 * Aggregator::kLevels);
  EXPECT_EQ(intervals, 100ll * 3600 * 1000 - 1000);
  EXPECT_EQ(counts.size(0), Aggregator::kBins);
  EXPECT_EQ(counts.at(0, 0).items, 0);
}

TEST(TrafficTest, KnowsTheRateOfASteadyFlow) {
  Traffic traffic(At(1s), 2ms);
  Time now = At(1s);
  for (int i = 0; i < 20'000; ++i) traffic.OnArrival(2, now += 250us);
  EXPECT_NEAR(traffic.RatePerSecond(500ms, now), 8000, 80);
  EXPECT_NEAR(traffic.NextItems(0), 16, 1);
}

TEST(TrafficTest, TheIntervalIsTheBatchTimeButAtLeastAMillisecond) {
  Traffic traffic(At(1s), 100us);
  EXPECT_EQ(traffic.counts().interval(0), 1ms);
  traffic.SetBatchTime(7ms, At(2s));
  EXPECT_EQ(traffic.counts().interval(0), 7ms);
  traffic.SetBatchTime(7500us, At(2s));  // not worth re-binning
  EXPECT_EQ(traffic.counts().interval(0), 7ms);
}

TEST(TrafficTest, KnowsTheRateRightAfterRebinning) {
  Traffic traffic(At(1s), 1ms);
  Time now = At(1s);
  for (int i = 0; i < 40'000; ++i) traffic.OnArrival(1, now += 200us);
  traffic.SetBatchTime(10ms, now);
  EXPECT_NEAR(traffic.RatePerSecond(500ms, now), 5000, 100);
}

// The coarse intervals begin at multiples of their length: the first one may hold a moment of traffic only.
TEST(TrafficTest, AnIntervalThatHardlySawTheModelDoesNotGiveItsRate) {
  for (const Duration start : {2040ms, 2900ms, 3500ms, 4090ms}) {
    Traffic traffic(At(start), 4ms);
    Time now = At(start);
    for (int i = 0; i < 1500; ++i) traffic.OnArrival(1, now += 1ms);
    EXPECT_NEAR(traffic.RatePerSecond(500ms, now), 1000, 120) << start.count();
  }
}

TEST(TrafficTest, ForgetsARateThatEnded) {
  Traffic traffic(At(1s), 1ms);
  Time now = At(1s);
  for (int i = 0; i < 10'000; ++i) traffic.OnArrival(1, now += 100us);
  traffic.AdvanceTo(now += 20s);
  EXPECT_LT(traffic.RatePerSecond(100ms, now), 10);
}

// Each steering interval's forecast as it stood before the interval closed, against what came.
TEST(TrafficTest, ErrorsOfTheSteeringForecastAreCountedOnceAnInterval) {
  Traffic traffic(At(0s));
  const int level = traffic.steering();
  const Duration interval = traffic.counts().interval(level);
  ASSERT_EQ(interval, 512ms);
  uint64_t seen = 0;
  double sum = 0;
  for (int i = 0; i < 40; ++i) {
    const int64_t items = 10 + 7 * (i % 3);
    traffic.OnArrival(items, At(i * interval + 1ms));
    const double forecast = traffic.NextItems(level);
    traffic.AdvanceTo(At((i + 1) * interval));
    if (i == 0) continue;  // nothing was forecast of the first
    ++seen;
    sum += std::abs(static_cast<double>(items) - forecast) / Seconds(interval);
    ASSERT_EQ(traffic.errors().total(), seen);
    ASSERT_NEAR(traffic.errors().sum(), sum, 1e-6);
  }
  EXPECT_GT(sum, 0);
}

TEST(TrafficTest, ErrorsOutlastAnotherBatchTimeAndCountASilence) {
  Traffic traffic(At(0s));
  for (int i = 0; i < 20; ++i) traffic.OnArrival(100, At(i * 512ms + 1ms));
  const uint64_t before = traffic.errors().total();
  ASSERT_EQ(before, 18u);
  traffic.SetBatchTime(3ms, At(20 * 512ms));
  EXPECT_EQ(traffic.errors().total(), before + 1) << "what history is replayed is no error";
  EXPECT_EQ(traffic.counts().interval(traffic.steering()), 3ms * 512);
  const Duration interval = traffic.counts().interval(traffic.steering());
  const uint64_t now = traffic.errors().total();
  traffic.AdvanceTo(traffic.counts().open_since(traffic.steering()) + 1000 * interval);
  EXPECT_EQ(traffic.errors().total(), now + 1000);
}

}  // namespace
}  // namespace evenkeel::policy
