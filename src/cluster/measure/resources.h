// The resource vector of this server (B1): measured where that says more than reading, read elsewhere.
//
// Contract: takes at most `time` and a little where no speed of this hardware is kept in the state folder, else milliseconds. What cannot be read is left at zero or empty.
// Thread-safety: as host_speed.h.
#pragma once

#include <string>

#include "cluster/resource_vector.h"
#include "core/clock.h"

namespace evenkeel {

struct MeasuredResources {
  ResourceVector vector;
  bool measured = false;          // now; else it was kept
  int64_t free_memory_bytes = 0;  // at the moment
};

// `state`: the folder that keeps it, and whose disk is looked at. `again`: also where a kept figure would do.
MeasuredResources ResourcesOfThisServer(const std::string& state, bool again, Duration time);

}  // namespace evenkeel
