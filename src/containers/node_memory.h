// How much memory this machine, or the control group that the daemon lives in, has and could give now.
//
// Contract: `free_bytes` is what could be used without swapping: the kernel's MemAvailable, or less where a control group of the daemon or one
//   above it has less left (page cache that can be dropped counts as left). Where the kernel does not tell, `total_bytes` is 0 and `free_bytes` empty.
// Thread-safety: thread-safe. Source: A13 (headroom).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "containers/cgroup.h"

namespace evenkeel {

struct NodeMemory {
  int64_t total_bytes = 0;
  std::optional<int64_t> free_bytes;
};

// `meminfo`: the text of /proc/meminfo. `host`: null where there are no control groups.
NodeMemory MemoryOf(std::string_view meminfo, const CgroupHost* host);

// What would be free if the process ended: its anonymous memory and what it has of shared memory, without mapped files. 0 when it is gone.
int64_t HeldMemory(pid_t pid);

// Reads it anew at each call, in some tens of microseconds.
class NodeMemoryGauge {
 public:
  NodeMemoryGauge();
  NodeMemory Read() const;

 private:
  std::optional<CgroupHost> host_;
};

}  // namespace evenkeel
