// When a worker that ended is started again: at once the first times, then with growing pauses while it does not do any good.
//
// Contract: a pure function of the history it is told. Workers were useful if they answered kUsefulAnswers requests, together since that
//   was last so, or one lived kUsefulLife. Deaths that requests cause are two a request (see Dispatcher), so they do not add up to long
//   pauses among good ones, also where each worker answers only a few of those before it meets the next bad one.
// Thread-safety: thread-compatible.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "core/clock.h"

namespace evenkeel {

class RestartPolicy {
 public:
  static constexpr uint64_t kUsefulAnswers = 10;
  static constexpr Duration kUsefulLife = std::chrono::seconds(10);
  static constexpr Duration kFirstPause = std::chrono::milliseconds(100);
  static constexpr Duration kLongestPause = std::chrono::seconds(10);
  static constexpr int kFreeRestarts = 2;  // without a pause
  static constexpr Duration kTooLong =
      std::chrono::seconds(1);  // a pause that callers are not made to wait for
  static constexpr int kLoadAttempts = 5;

  // A worker ended after `life`, having answered `answers` requests. Returns the pause before the next start.
  Duration OnEnd(Duration life, uint64_t answers) {
    answers_ += answers;
    if (life >= kUsefulLife || answers_ >= kUsefulAnswers) {
      useless_ = 0;
      answers_ = 0;
    }
    ++useless_;
    if (useless_ <= kFreeRestarts) return {};
    const int doublings = std::min(useless_ - kFreeRestarts - 1, 10);
    return std::min<Duration>(kFirstPause * (1 << doublings), kLongestPause);
  }
  int useless_ends() const { return useless_; }

 private:
  int useless_ = 0;
  uint64_t answers_ = 0;  // since workers were last found useful
};

}  // namespace evenkeel
