// How many cores' time the control groups that the daemon lives in allow it, all together.
//
// Contract: the least quota of the own group and those above it, in cores (1.5: one and a half cores' time); empty where there is none. Sets of processors
//   are not counted: sched_getaffinity() tells of those.
// Thread-safety: thread-safe. Source: B1 (limits count, not the host's nominal cores).
#pragma once

#include <optional>

#include "containers/cgroup.h"

namespace evenkeel {

std::optional<double> CoreQuota(const CgroupHost& host);
// Of this process, now.
std::optional<double> OwnCoreQuota();

}  // namespace evenkeel
