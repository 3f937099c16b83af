// What this process has had of the cores, all of its threads together. Thread-safety: thread-safe.
#pragma once

#include <ctime>

#include "core/clock.h"

namespace evenkeel {

inline Duration CoreTime() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace evenkeel
