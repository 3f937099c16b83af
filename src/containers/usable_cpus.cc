#include "containers/usable_cpus.h"

#include <fmt/ranges.h>
#include <sched.h>

#include <thread>

#include "core/format.h"
#include "core/log.h"

namespace evenkeel {

Result<std::vector<int>> UsableCpus(const std::vector<int>& cpus) {
  std::vector<int> usable, rest;
  std::thread([&] {
    for (const int cpu : cpus) {
      cpu_set_t one;
      CPU_ZERO(&one);
      if (cpu < CPU_SETSIZE) CPU_SET(cpu, &one);
      (::sched_setaffinity(0, sizeof one, &one) == 0 ? usable : rest).push_back(cpu);
    }
  }).join();
  if (rest.empty()) return usable;
  const std::string text = fmt::format("{}", fmt::join(rest, ","));
  if (usable.empty())
    return InvalidArgument("worker_cpus: none of the processors {} can be used here", text);
  LogWarning("worker_cpus: the processors {} cannot be used here, and are left out", text);
  return usable;
}

}  // namespace evenkeel
