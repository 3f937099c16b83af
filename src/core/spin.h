// Helpers of a thread that looks for an event instead of sleeping; see spin_budget.h for when it should.
//
// Thread-safety: thread-safe.
#pragma once

#include <sys/resource.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace evenkeel {

// Tells the core that this is a loop of waiting: less power, and more for its other hardware thread.
inline void CpuRelax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How often the calling thread was pushed off its core by another. A system call of about 0.3 us.
inline long Preemptions() {
  rusage usage{};
  return ::getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

}  // namespace evenkeel
