// Lets a line into the log now and then, where strangers could bring it about as often as they like.
//
// Use: if (const auto unsaid = pace.Take(now)) LogWarning("...{}", *unsaid).
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "core/clock.h"

namespace evenkeel {

class LogPace {
 public:
  // One line in `every` at most.
  explicit LogPace(Duration every) : every_(every) {}

  // How many were left out since the last line; nullopt: this one is left out, too.
  std::optional<uint64_t> Take(Time now) {
    if (now < next_) {
      ++unsaid_;
      return std::nullopt;
    }
    next_ = now + every_;
    return std::exchange(unsaid_, 0);
  }

 private:
  const Duration every_;
  Time next_{};  // no line before
  uint64_t unsaid_ = 0;
};

}  // namespace evenkeel
