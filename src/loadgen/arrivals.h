// When requests arrive in an open loop, independent of how fast they are answered.
//
// Contract: Next() returns ever later (never earlier) offsets from the start of the stage, and
//   nullopt once there are no more. A process is split over threads so that the union of the parts
//   is the process asked for: Poisson parts are independent Poisson processes, constant and trace
//   parts take every `parts`-th arrival.
// Units: offsets are Durations; rates are requests a second.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/clock.h"

namespace evenkeel::loadgen {

class Arrivals {
 public:
  virtual ~Arrivals() = default;
  virtual std::optional<Duration> Next() = 0;
};

enum class ArrivalKind : uint8_t { kPoisson, kConstant, kTrace };

// A part of a process: thread `index` of `count`.
struct Part {
  int index = 0;
  int count = 1;
};

// REQUIRES: rate_rps > 0 and finite.
std::unique_ptr<Arrivals> PoissonArrivals(double rate_rps, uint64_t seed, Part part);
std::unique_ptr<Arrivals> ConstantArrivals(double rate_rps, Part part);
// `times_s` ascending, shared by the parts; ends with the last one.
std::unique_ptr<Arrivals> TraceArrivals(std::shared_ptr<const std::vector<double>> times_s,
                                        Part part);

// Rebases times to start at 0 and plays them `speed` times as fast. REQUIRES: ascending, speed > 0.
std::vector<double> ScaleTrace(std::vector<double> times_s, double speed);
// Mean rate of a trace that starts at 0: arrivals a second between the first and the last; 0 with
// fewer than two.
double MeanRate(const std::vector<double>& times_s);

// A small, fast, seedable generator (xorshift64*; Vigna 2014), the same on every machine.
class Rng {
 public:
  explicit Rng(uint64_t seed);
  uint64_t Next();
  double Uniform();                // [0, 1)
  uint64_t Below(uint64_t limit);  // [0, limit). REQUIRES: limit > 0

 private:
  uint64_t state_;
};

}  // namespace evenkeel::loadgen
