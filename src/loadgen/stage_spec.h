// Stages as text: "rate=100,duration=5s", "concurrency=8,requests=1000,name=ramp".
//
// Contract: keys are name, concurrency, rate, arrivals (poisson, constant, trace:FILE), scale,
//   duration, requests; each at most once; exactly one of concurrency and rate, but that a trace
//   needs no rate (with one, it is played at that mean rate; `scale` plays it that many times as
//   fast). A stage without duration and requests gets `default_duration`, a trace its own length.
//   Errors (kInvalidArgument, or those of the trace file) name the key.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "loadgen/pacer.h"

namespace evenkeel::loadgen {

Result<Stage> ParseStage(std::string_view text, Duration default_duration);

// A positive, finite number.
Result<double> ParsePositive(std::string_view text);

}  // namespace evenkeel::loadgen
