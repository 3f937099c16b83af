// The rung `cgroup`. For this room's ladder and tests; others call MakeRuntime().
// Thread-safety: thread-safe.
#pragma once

#include <memory>
#include <string>

#include "containers/cgroup.h"
#include "containers/runtime.h"

namespace evenkeel {

// REQUIRES: host->Prepare(label) was ok.
std::unique_ptr<Runtime> MakeCgroupRuntime(std::shared_ptr<const CgroupHost> host,
                                           std::string label);

}  // namespace evenkeel
