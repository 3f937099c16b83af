// The log's line for a client that did not wait for its answer: status 499 in the table of statuses, which nobody receives.
//
// Contract: at level debug, so that a crowd that leaves does not fill the log; how many left is counted elsewhere. Not under a lock.
// Thread-safety: thread-safe.
#pragma once

#include <string_view>

#include "core/log.h"

namespace evenkeel {

inline void LogClientGone(std::string_view model, std::string_view protocol) {
  LogDebug("499 model '{}' over {}: the client did not wait for its answer, its work is cancelled",
           model, protocol);
}

}  // namespace evenkeel
