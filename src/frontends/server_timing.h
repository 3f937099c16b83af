// Where a request's time went, in the form of the Server-Timing header: milliseconds, for both protocols.
// Thread-safety: thread-safe (pure).
#pragma once

#include <fmt/format.h>

#include <string>

#include "core/infer.h"

namespace evenkeel {

// "queue;dur=1.500, batch;dur=0.020, compute;dur=0.300"
inline std::string ServerTiming(const Timings& timings) {
  const auto ms = [](Duration d) { return Seconds(d) * 1e3; };
  return fmt::format("queue;dur={:.3f}, batch;dur={:.3f}, compute;dur={:.3f}", ms(timings.queue),
                     ms(timings.batch), ms(timings.compute));
}

}  // namespace evenkeel
