// The text of an arrival spec, taken apart: KIND:ARGUMENT[,KEY=VALUE ...] (arrivals.h says what they mean).
//
// Errors: kInvalidArgument, with the kind or key that is wrong. Thread-safety: thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel::sim {

struct ArrivalSpec {
  std::string kind, argument;
  std::optional<double> rate, speed, cv;
  std::optional<Duration> bin;
};

Result<ArrivalSpec> ParseArrivalSpec(std::string_view text);

// A rate that holds for a while.
struct RateSpan {
  double rate_rps = 0;
  double seconds = 0;
};
double MeanRate(const std::vector<RateSpan>& spans);

// "RATE@SECONDS/RATE@SECONDS/...": rates >= 0, at least one above; seconds > 0.
Result<std::vector<RateSpan>> ParseSteps(std::string_view text);

// A finite number above 0.
Result<double> PositiveNumber(std::string_view text);

}  // namespace evenkeel::sim
