// What `evenkeel doctor` looks at. Each check says one thing about this machine and, unless it
// passes, how to put it right.
//
// Contract: checks change nothing that lasts (a port is bound and let go, a lock taken and let go);
//   none waits longer than a second (the engine's own look for accelerators: five).
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

// The machine: kernel, cores, memory, cgroup, devices, clock, limits.
std::vector<Check> CheckMachine();
// How workers can be isolated here: the rungs of containers/runtime.h. `libexec` is the folder of
// the worker executables.
std::vector<Check> CheckRuntimes(const Settings& settings, const std::string& libexec);
// The accelerators that OpenVINO sees, or the emulated one.
Check CheckAccelerators(const Settings& settings, const std::string& libexec);
// Who gets in: API keys, addresses beyond loopback.
std::vector<Check> CheckAccess(const Settings& settings);
// What `serve` would meet with these settings: engines, runtimes, folders, lock, ports.
std::vector<Check> CheckServing(const Settings& settings);

}  // namespace evenkeel
