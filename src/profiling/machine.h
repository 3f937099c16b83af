// The machine as far as a load table depends on it.
//
// Contract: the fingerprint names processor model, its vector extensions, cores that this process may use and memory in whole GiB. It does not
//   name the host: an equal machine may use the table.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "profiling/policy/select_objective.h"

namespace evenkeel {

struct Machine {
  std::string fingerprint;  // "AMD EPYC, 2 cores, 24 GiB, avx2 (3f2a91c0)"
  bool bf16 = false;        // the processor computes with bf16
};

// From the text of /proc/cpuinfo. `host`: cores and memory that may be used.
Machine DescribeMachine(std::string_view cpuinfo, const HostSize& host);
// This one.
Machine ThisMachine(const HostSize& host);
// Cores by affinity, memory by the kernel; what the cgroup rung says is better where it works.
HostSize ThisHost();

}  // namespace evenkeel
