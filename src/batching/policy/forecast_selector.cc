#include "batching/policy/forecast_selector.h"

#include <algorithm>
#include <cmath>

namespace evenkeel::policy {
namespace {

constexpr double kErrorWeight = 1.0 / 32;
constexpr double kHysteresis = 0.9;
constexpr double kGrant = 0.005;  // of the last value's errors: what trying another member may cost

}  // namespace

ForecastSelector::ForecastSelector() {
  members_[0].forecaster = MakeLastValue();
  members_[1].forecaster = MakeEwma();
  members_[2].forecaster = MakeHolt();
  members_[3].forecaster = MakeAutoregressive();
  members_[4].forecaster = MakeSeasonal();
}

void ForecastSelector::Update(double value, int64_t times, Histogram* errors, double scale) {
  int64_t fed = times;
  if (value == 0) {
    fed = std::clamp<int64_t>(kFed - empty_run_, 0, times);
    empty_run_ += times;
  } else {
    empty_run_ = 0;
  }
  const auto observe = [&](int64_t intervals) {
    // The first value could not be known.
    if (errors == nullptr || seen_ == 0) return;
    errors->Observe(std::abs(value - next_) * scale, static_cast<uint64_t>(intervals));
  };
  for (int64_t i = 0; i < fed; ++i) {
    observe(1);
    UpdateOne(value);
  }
  if (times == fed) return;
  observe(times - fed);
  seen_ += times - fed;
  const double left = std::pow(1 - kErrorWeight, static_cast<double>(times - fed));
  for (Member& member : members_) {
    member.forecaster->Skip(times - fed);
    member.next = member.forecaster->Next();
    member.recent_error *= left;
  }
  Choose();
}

void ForecastSelector::UpdateOne(double value) {
  if (seen_ > 0) {  // the first value could not be known
    error_sum_ += std::abs(value - next_);
    last_error_sum_ += std::abs(value - last_);
  }
  for (Member& member : members_) {
    if (seen_ > 0)
      member.recent_error += kErrorWeight * (std::abs(value - member.next) - member.recent_error);
    member.forecaster->Update(value);
    member.next = member.forecaster->Next();
  }
  ++seen_;
  last_ = value;
  Choose();
}

void ForecastSelector::Choose() {
  const auto best = static_cast<size_t>(std::min_element(members_.begin(), members_.end(),
                                                         [](const Member& a, const Member& b) {
                                                           return a.recent_error < b.recent_error;
                                                         }) -
                                        members_.begin());
  if (members_[best].recent_error < kHysteresis * members_[followed_].recent_error)
    followed_ = best;
  const double budget = std::max(0.0, last_error_sum_ - error_sum_ + kGrant * last_error_sum_);
  next_ = last_ + std::clamp(members_[followed_].next - last_, -budget, budget);
}

}  // namespace evenkeel::policy
