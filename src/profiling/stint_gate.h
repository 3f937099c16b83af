// Asked by a sweep that runs beside serving: may the next stint of work begin, and does the one that ended count?
//
// A sweep by hand has no gate.
// Thread-safety: called by the sweep's thread only.
#pragma once

#include "core/status.h"
#include "profiling/policy/sweep_pace.h"

namespace evenkeel {

class StintGate {
 public:
  virtual ~StintGate() = default;
  // Blocks until a stint may begin. Error kCancelled: none may any more.
  virtual Status Begin() = 0;
  // False: what the stint measured is to be thrown away (it was disturbed), and is measured again.
  virtual bool End(const Stint& stint) = 0;
};

}  // namespace evenkeel
