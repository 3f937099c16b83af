#include "batching/policy/hold.h"

#include <algorithm>

namespace evenkeel::policy {
namespace {

constexpr double kExpected = 0.5;  // rows: fewer are not worth waiting for
constexpr double kSilence = 3;     // mean gaps without an arrival: the flow has stopped
constexpr double kLongest = 3600;  // seconds: keeps n / lambda inside Duration

Duration FromSeconds(double s) { return Duration(static_cast<int64_t>(s * 1e9)); }

}  // namespace

Time HoldEnd(const HoldInput& in, const BatchCurve& curve, Time now) {
  if (in.rate_rps <= 0) return now;
  const double gap = 1 / in.rate_rps;
  const int next = static_cast<int>(std::min<int64_t>(in.target, in.waiting_rows + 1));
  const Time filled =
      in.oldest_arrival + FromSeconds(std::min(kLongest, in.stretch * in.target * gap));
  const Time latest = in.deadline == kNever ? kNever : in.deadline - curve.P99(next) - in.core_wait;
  const Time end = std::min(filled, latest);
  if (end <= now) return end;
  const bool nothing_comes = Seconds(end - now) < kExpected * gap;
  const Time silent =
      in.last_arrival + FromSeconds(std::min(kLongest, in.stretch * kSilence * gap));
  if (nothing_comes || silent <= now) return now;
  return std::min(end, silent);
}

}  // namespace evenkeel::policy
