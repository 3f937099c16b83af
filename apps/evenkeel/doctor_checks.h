// What `evenkeel doctor` looks at. Each check says one thing about this machine and, unless it
// passes, how to put it right.
//
// Contract: checks change nothing that lasts (a port is bound and let go, a lock taken and let go);
//   none waits longer than a second.
// Thread-safety: main thread only.
#pragma once

#include <string>
#include <vector>

#include "core/settings.h"

namespace evenkeel {

enum class Verdict { kPass, kWarn, kFail };

struct Check {
  std::string name;
  Verdict verdict = Verdict::kPass;
  std::string finding;
  std::string fix;  // empty when it passes
};

// The machine: kernel, cores, memory, cgroup, container runtime, devices, clock, limits.
std::vector<Check> CheckMachine();
// What `serve` would meet with these settings: engines, folders, lock, ports.
std::vector<Check> CheckServing(const Settings& settings);

}  // namespace evenkeel
