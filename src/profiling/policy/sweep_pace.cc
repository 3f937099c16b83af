#include "profiling/policy/sweep_pace.h"

#include <algorithm>
#include <cmath>

namespace evenkeel {

bool SweepPace::Serves(const ServingState& serving, Time now) const {
  return serving.last_arrival != Time{} && now - serving.last_arrival < options_.free_after;
}

SweepPace::Verdict SweepPace::MayBegin(const ServingState& serving, Time now) const {
  if (serving.worst_wait >= kQueueShare) return {false, now + kLook, "requests wait"};
  if (now >= next_ || !Serves(serving, now)) return {true, kNever, {}};
  // Requests may cease to come before its turn has come.
  return {false, std::min(next_, serving.last_arrival + options_.free_after),
          "its share of the machine is used up"};
}

bool SweepPace::Ended(const Stint& stint, const ServingState& serving, Time now) {
  const double turn_s = std::max(0.0, stint.core_s) / (options_.share * options_.cores);
  next_ = std::max(now, began_ + Duration(std::llround(turn_s * 1e9)));
  if (serving.worst_wait >= kQueueShare) return false;
  if (stint.wait_s > kWaitShare * Seconds(stint.wall)) {
    if (disturbed_ == kMostDisturbed) return true;
    ++disturbed_;
    return false;
  }
  disturbed_ = 0;
  return true;
}

}  // namespace evenkeel
