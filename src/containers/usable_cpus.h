// Which processors a worker can be bound to: those that are there and that this process's control group allows.
//
// Contract: asks the kernel for each, on a thread of its own; the caller's own binding counts for nothing. Keeps the order. Thread-safety: thread-safe.
#pragma once

#include <vector>

#include "core/status.h"

namespace evenkeel {

// Those of `cpus` that can be used; some that cannot are warned of. Error kInvalidArgument: none can, and there are some.
Result<std::vector<int>> UsableCpus(const std::vector<int>& cpus);

}  // namespace evenkeel
