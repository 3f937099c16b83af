// The rung `oci`: every worker in a container of its own, made by runc.
//
// Contract: as Runtime. Start() checks, writes the bundle and starts runc; the rest happens on the watch's thread.
// Start-up: see README.md. Thread-safety: thread-safe. Source: A3.
#pragma once

#include <memory>
#include <string>

#include "containers/cgroup.h"
#include "containers/runtime.h"

namespace evenkeel {

// runc in $PATH or the usual folders; empty: there is none.
std::string FindRunc();

struct OciOptions {
  std::string runc;        // absolute path
  std::string init;        // absolute path of evenkeel-init
  std::string containers;  // folder for bundles and runc's states; made if missing
  std::string label;       // see LabelOf()
};

// Error kUnavailable: the folder cannot be made or written.
Result<std::unique_ptr<Runtime>> MakeOciRuntime(OciOptions options,
                                                std::shared_ptr<const CgroupHost> host);

}  // namespace evenkeel
