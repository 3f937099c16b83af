// How much later answers come than was predicted when their requests were accepted: what PredictedAnswer (admission.h) can't know, several other models' turns in a row, cores that
// front ends and clients take, is learnt from how it ended.
//
//   lateness: of the requests that ended lately, 19 of 20 took at most `predicted + lateness`.
//
// A stochastic quantile: an end that was later raises it by the objective / kSteps, one that was not lowers it by a nineteenth of that. A time and not a factor: what is waited
//   for is others' batches, however little was predicted. Its steps and its bound are the model's, not the request's: one call with much time, or with next to none, does not
//   move what all others are judged by. At most half of the objective, and half of a request's own limit. A refusal that it alone brought about lowers it by a quarter of
//   what an end in time does: who refuses nearly all learns from next to nothing else, and would do so for long after the reason has gone.
// Contract: pure. Thread-safety: thread-compatible. Source: A8 (shedding); the quantile as by Robbins and Monro.
#pragma once

#include <algorithm>

#include "core/clock.h"

namespace evenkeel::policy {

class PredictionError {
 public:
  static constexpr int kSteps = 400, kOnTime = 19, kRefused = 4 * kOnTime;

  // `took`: from acceptance to the answer, or to when it was given up. `objective`: the model's, > 0.
  void OnEnd(Duration predicted, Duration took, Duration objective) {
    const Duration step = objective / kSteps;
    lateness_ += took - predicted > lateness_ ? step : -step / kOnTime;
    lateness_ = std::clamp(lateness_, Duration::zero(), objective / 2);
  }
  // A request was refused that would have been accepted without it.
  void OnRefusal(Duration objective) {
    lateness_ = std::max(lateness_ - objective / kSteps / kRefused, Duration::zero());
  }
  // What a request with so much time has to count on.
  Duration lateness(Duration limit) const { return std::min(lateness_, limit / 2); }

 private:
  Duration lateness_{};
};

}  // namespace evenkeel::policy
