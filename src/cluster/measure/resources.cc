#include "cluster/measure/resources.h"

#include <sys/statvfs.h>

#include <cmath>
#include <fstream>
#include <optional>

#include "cluster/measure/host_speed.h"
#include "containers/node_memory.h"
#include "profiling/machine.h"

namespace evenkeel {
namespace {

int64_t FreeDisk(const std::string& folder) {
  struct statvfs facts {};
  if (::statvfs(folder.c_str(), &facts) != 0) return 0;
  return static_cast<int64_t>(facts.f_bavail) * static_cast<int64_t>(facts.f_frsize);
}

// The long-term limit of the processor's package, where the kernel shows one.
std::optional<double> PowerBudget() {
  std::ifstream file("/sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw");
  double microwatts = 0;
  if (!(file >> microwatts) || microwatts <= 0) return std::nullopt;
  return microwatts / 1e6;
}

}  // namespace

MeasuredResources ResourcesOfThisServer(const std::string& state, bool again, Duration time) {
  MeasuredResources found;
  ResourceVector& vector = found.vector;
  const OwnCores own = CoresOfThisProcess();
  const NodeMemory memory = NodeMemoryGauge().Read();
  HostSize host;
  host.milli_cores = static_cast<int>(std::lround(own.cores * 1000));
  host.memory_bytes = memory.total_bytes;
  vector.fingerprint = ThisMachine(host).fingerprint;
  const HostSpeed speed =
      HostSpeedOf(state + "/host_speed.json", vector.fingerprint, again, time, &found.measured);
  vector.cores = own.cores;
  vector.gflops = speed.gflops;
  vector.memory_gb_s = speed.memory_gb_s;
  vector.memory_bytes = memory.total_bytes;
  vector.disk_bytes = FreeDisk(state);
  vector.power_w = PowerBudget();
  found.free_memory_bytes = memory.free_bytes.value_or(0);
  return found;
}

}  // namespace evenkeel
