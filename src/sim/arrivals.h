// When requests of one model arrive, in virtual time.
//
// A spec is text, KIND:ARGUMENT[,KEY=VALUE ...]:
//   poisson:RATE                    independent arrivals
//   constant:RATE                   evenly spaced
//   gamma:RATE,cv=CV                renewal process with gamma gaps; CV > 1 is bursty
//   steps:RATE@SECONDS/RATE@...     Poisson, the rate changing in steps; repeated from the start when it ends
//   trace:FILE                      times in seconds, column `t_s` (or bare numbers), ascending
//   counts:FILE,bin=DURATION        requests a bin, last column of each line; arrivals inside a bin are drawn evenly
//   clients:FILE                    columns t_s, client, rate_rps, iat_cv: a gamma process a client, a new one each window
// Keys: rate=R scales a file to that mean rate (trace: by playing it faster or slower; counts and clients: by more or fewer
// arrivals); speed=S plays a file S times as fast. Rates are requests a second, > 0.
// Contract: Next() gives times that never go back, from Time{} on; nullopt after the last. The same spec and seed give the same
//   times. Errors (kInvalidArgument) name the key, or the file's line: times that are not ascending, negative or not numbers, no arrivals.
// Thread-safety: single-owner.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel::sim {

class Arrivals {
 public:
  virtual ~Arrivals() = default;
  virtual std::optional<Time> Next() = 0;
};

// The text of a file, unpacked.
using ReadFile = std::function<Result<std::string>(const std::string& path)>;

// What a spec says, ready to be played at any rate.
class ArrivalProcess {
 public:
  virtual ~ArrivalProcess() = default;
  // `factor` multiplies the rates. REQUIRES: factor > 0.
  virtual std::unique_ptr<Arrivals> Play(double factor, uint64_t seed) const = 0;
  virtual double mean_rate_rps() const = 0;
  // Of one pass over a file; 0: it never ends.
  virtual Duration length() const { return {}; }
};

Result<std::shared_ptr<const ArrivalProcess>> ParseArrivals(std::string_view spec,
                                                            const ReadFile& read);

}  // namespace evenkeel::sim
