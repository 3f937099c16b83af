// What runs would have taken had a core always been free: their times less what the worker's threads waited for one.
//
//   waited = of the threads' waits meanwhile, the sum where they work one after the other (a container of one thread: the engine's and the one that feeds it), the
//            longest where they work side by side
//   each run's time is multiplied by max(kLeastOwn, 1 - waited / sum of the runs): who runs longer is preempted more often
// What the caches lost meanwhile stays in: it is a part of running beside others.
// Units: seconds, microseconds where it says so. Thread-safety: pure. Source: A4 (measured beside serving, not with it).
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <string>

namespace evenkeel {

// By thread: seconds since its start that it was runnable and had no core.
using ThreadWaits = std::map<std::string, double>;

struct Waited {
  double sum_s = 0, longest_s = 0;
};

// A thread that is new has waited since its start; one that has ended is not known any more.
inline Waited WaitedSince(const ThreadWaits& before, const ThreadWaits& now) {
  Waited waited;
  for (const auto& [thread, total_s] : now) {
    const auto at = before.find(thread);
    const double s = std::max(0.0, total_s - (at == before.end() ? 0 : at->second));
    waited.sum_s += s;
    waited.longest_s = std::max(waited.longest_s, s);
  }
  return waited;
}

// Below, the kernel's figures are no better than a guess.
inline constexpr double kLeastOwn = 0.01;

// Of runs that took `ran_us` together, while their worker waited for `waited_us`; 0 to 1.
inline double OwnShare(double ran_us, double waited_us) {
  if (ran_us <= 0 || waited_us <= 0) return 1;
  return std::max(kLeastOwn, 1 - waited_us / ran_us);
}

inline void Scale(std::span<double> times, double by) {
  for (double& time : times) time *= by;
}

}  // namespace evenkeel
