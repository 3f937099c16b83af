#include "batching/policy/forecast_selector.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

namespace evenkeel::policy {
namespace {

using Series = std::vector<double>;

Series Make(int length, const std::function<double(int)>& value) {
  Series series;
  for (int i = 0; i < length; ++i) series.push_back(std::max(0.0, value(i)));
  return series;
}

// Mean absolute error of one-step forecasts from the second value on.
double ErrorOf(Forecaster& forecaster, const Series& series) {
  double sum = 0;
  for (size_t i = 0; i < series.size(); ++i) {
    if (i > 0) sum += std::abs(series[i] - forecaster.Next());
    forecaster.Update(series[i]);
  }
  return sum / static_cast<double>(series.size() - 1);
}

Series NoisySteady() {
  std::mt19937_64 random(3);
  std::poisson_distribution<int> counts(100);
  return Make(2000, [&](int) { return counts(random); });
}
Series Season() {
  return Make(2000, [](int i) { return i % 24 < 6 ? 5.0 : 100.0 + i % 24; });
}
Series Ramp() {
  return Make(500, [](int i) { return 10.0 * i; });
}
Series Step() {
  return Make(500, [](int i) { return i < 250 ? 1.0 : 1000.0; });
}

TEST(ForecasterTest, EachMemberIsBestWhereItShouldBe) {
  EXPECT_LT(ErrorOf(*MakeEwma(), NoisySteady()), 0.85 * ErrorOf(*MakeLastValue(), NoisySteady()));
  EXPECT_LT(ErrorOf(*MakeHolt(), Ramp()), 0.5 * ErrorOf(*MakeLastValue(), Ramp()));
  EXPECT_LT(ErrorOf(*MakeSeasonal(), Season()), 0.2 * ErrorOf(*MakeLastValue(), Season()));
  // x_t = 0.9 x_{t-2} + noise: the last value says nothing of the next one.
  std::mt19937_64 random(5);
  std::normal_distribution<double> noise(0, 5);
  double before = 100, last = 20;
  const Series alternating = Make(2000, [&](int) {
    const double next = 50 + 0.9 * (before - 50) + noise(random);
    before = last;
    return last = next;
  });
  EXPECT_LT(ErrorOf(*MakeAutoregressive(), alternating),
            0.5 * ErrorOf(*MakeLastValue(), alternating));
}

double SelectedError(const Series& series, ForecastSelector* selector) {
  for (const double value : series) selector->Update(value);
  return selector->error_sum() / static_cast<double>(series.size() - 1);
}

TEST(ForecastSelectorTest, FollowsTheBestMemberWithinItsTrialCosts) {
  ForecastSelector season, steady, ramp;
  EXPECT_LT(SelectedError(Season(), &season), 0.5 * ErrorOf(*MakeLastValue(), Season()));
  EXPECT_EQ(season.followed(), "seasonal");
  EXPECT_LT(SelectedError(NoisySteady(), &steady), 0.9 * ErrorOf(*MakeLastValue(), NoisySteady()));
  EXPECT_LT(SelectedError(Ramp(), &ramp), 0.6 * ErrorOf(*MakeLastValue(), Ramp()));
}

TEST(ForecastSelectorTest, FindsTheNewLevelAfterAStep) {
  ForecastSelector selector;
  for (const double value : Step()) selector.Update(value);
  EXPECT_NEAR(selector.Next(), 1000, 20);
}

TEST(ForecastSelectorTest, SilenceEndsInAForecastOfNothing) {
  ForecastSelector selector;
  for (int i = 0; i < 50; ++i) selector.Update(100);
  selector.Update(0, 1'000'000'000);
  EXPECT_NEAR(selector.Next(), 0, 1);
  EXPECT_EQ(selector.seen(), 1'000'000'050);
}

// The bound of the header, on series that nature would not make: whatever the values are.
RC_GTEST_PROP(ForecastSelectorProperty, NeverLosesToTheLastValue, ()) {
  const auto series = *rc::gen::container<std::vector<int>>(
      *rc::gen::inRange(2, 300), rc::gen::oneOf(rc::gen::inRange(0, 3), rc::gen::inRange(0, 1000)));
  ForecastSelector selector;
  for (const int value : series) {
    selector.Update(value);
    RC_ASSERT(selector.error_sum() <= 1.005 * selector.last_value_error_sum() + 1e-6);
    RC_ASSERT(std::isfinite(selector.Next()));
  }
}

// One who sees the forecast and always chooses the value that hurts it most.
TEST(ForecastSelectorTest, AnAdversaryGainsNothingOverTheLastValue) {
  std::mt19937_64 random(9);
  ForecastSelector selector;
  for (int i = 0; i < 20'000; ++i) {
    // Feed a pattern until something else than the last value is followed, then break it.
    const bool trusting = std::abs(selector.Next() - selector.last_actual()) > 1;
    const double honest = i % 2 == 0 ? 100 : 10;
    const double worst = selector.Next() > selector.last_actual() ? 0 : 200;
    selector.Update(trusting && random() % 4 != 0 ? worst : honest);
    ASSERT_LE(selector.error_sum(), 1.005 * selector.last_value_error_sum() + 1e-6) << i;
  }
}

RC_GTEST_PROP(ForecasterProperty, ForecastsAreFiniteAndNotNegative, ()) {
  const auto series = *rc::gen::container<std::vector<double>>(
      *rc::gen::inRange(1, 200),
      rc::gen::map(rc::gen::inRange<int64_t>(0, 1'000'000'000'000),
                   [](int64_t v) { return v % 3 == 0 ? 0.0 : static_cast<double>(v) * 1e-3; }));
  for (const auto make : {MakeLastValue, MakeEwma, MakeHolt, MakeAutoregressive, MakeSeasonal}) {
    const auto forecaster = make();
    RC_ASSERT(forecaster->Next() == 0);
    for (const double value : series) {
      forecaster->Update(value);
      RC_ASSERT(std::isfinite(forecaster->Next()));
      RC_ASSERT(forecaster->Next() >= 0);
    }
  }
}

}  // namespace
}  // namespace evenkeel::policy
