// What a unit of work takes as it runs now: the time of the last batches (or steps) over the units that they did.
//
// Use for: telling other nodes what work costs here. Not for: what a batch of another size would take (batch_curve.h, llm_load_table.h): a node that runs few rows at
//   a time pays more for each than its table says of full batches, one whose host has lost cores more than it says of any.
// Contract: of what ran longest ago the weight falls by e with each kMemory of running, so that after a lasting change the cost is within a tenth of the new one when that
//   ran for 2.5 times kMemory. Time alone changes nothing: a node that rests keeps what it had last. Nor does what did no unit, or none that is known: a long run of it would
//   make the cost grow without bound.
// Units: any unit of work (rows, tokens); Duration; seconds a unit. Thread-safety: thread-compatible; pure, no clock inside. Source: B3 with live figures, A7.
#pragma once

#include <cmath>

#include "core/clock.h"

namespace evenkeel::policy {

class LateCost {
 public:
  static constexpr Duration kMemory = std::chrono::seconds(1);

  // What ran for `took`, and did so many units. What took no time, or did none, is ignored.
  void Record(double units, Duration took) {
    if (took <= Duration::zero() || units <= 0) return;
    const double kept = std::exp(-Seconds(took) / Seconds(kMemory));
    seconds_ = kept * seconds_ + Seconds(took);
    units_ = kept * units_ + units;
  }

  // 0: nothing is known.
  double seconds_per_unit() const { return units_ > 0 ? seconds_ / units_ : 0; }

 private:
  double seconds_ = 0, units_ = 0;
};

}  // namespace evenkeel::policy
