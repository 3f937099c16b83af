// When a worker that ended is started again: at once the first times, then with growing pauses while it does not do any good.
//
// Contract: a pure function of the history it is told. "Useful" means that the worker answered kUsefulAnswers requests or lived kUsefulLife.
// Thread-safety: thread-compatible.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "core/clock.h"

namespace evenkeel {

class RestartPolicy {
 public:
  static constexpr uint64_t kUsefulAnswers = 100;
  static constexpr Duration kUsefulLife = std::chrono::seconds(10);
  static constexpr Duration kFirstPause = std::chrono::milliseconds(100);
  static constexpr Duration kLongestPause = std::chrono::seconds(10);
  static constexpr int kFreeRestarts = 2;    // without a pause
  static constexpr int kLoop = 5;            // useless ends in a row that make a crash loop

  // A worker ended after `life`, having answered `answers` requests. Returns the pause before the next start.
  Duration OnEnd(Duration life, uint64_t answers) {
    if (life >= kUsefulLife || answers >= kUsefulAnswers) useless_ = 0;
    ++useless_;
    if (useless_ <= kFreeRestarts) return {};
    const int doublings = std::min(useless_ - kFreeRestarts - 1, 10);
    return std::min<Duration>(kFirstPause * (1 << doublings), kLongestPause);
  }
  bool crash_loop() const { return useless_ >= kLoop; }
  int useless_ends() const { return useless_; }

 private:
  int useless_ = 0;
};

}  // namespace evenkeel
