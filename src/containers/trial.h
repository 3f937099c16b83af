// Starts something on a rung and looks whether it comes to its end: what a kernel, its control groups and runc allow is known only
// once they have done it.
//
// Contract: runs `evenkeel-init --trial`, held to `shape`, and waits for its end; what has not ended `within` that time is killed. Blocks; nothing is left. A
//   runc that hangs is given up after half a minute (container_watch.h).
// Thread-safety: as the runtime's. Source: A3 ("by what the host allows").
#pragma once

#include <chrono>
#include <string>

#include "containers/runtime.h"

namespace evenkeel {

// Error kUnavailable: it did not start, ended otherwise than with 0, or did not end; with the words of whoever refused.
Status TryOut(Runtime& runtime, const std::string& libexec, const WorkerShape& shape,
              std::chrono::milliseconds within = std::chrono::seconds(10));

}  // namespace evenkeel
