// How late this process gets to what is ready for it, lately, and what that takes of a request's time.
//
//   lag: of the looks at the loops in the last kSpan (of at most kKept), nine of ten came at most so late; the nearest rank. Zero below kFew looks.
//   way = min(2 lag, limit / 2): a request was read so much later than it came, which its deadline, counted from the reading, does not know; and its answer is
//     under way as long again, since whoever waits for the cores here (the loop on its way to the answer, a client beside it) waits for the same ones.
//
// The way is apart from PredictionError, which learns from acceptance to answer and so sees neither end of it. At most half of the limit, so that some are always accepted.
// Contract: pure; memory is constant; looks of several loops may come slightly out of order. Thread-safety: thread-compatible (LoopLagGauge is thread-safe).
// Source: A8 to A10 (no compute is spent on what comes too late).
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>

#include "core/clock.h"

namespace evenkeel::policy {

class LoopLag {
 public:
  static constexpr size_t kKept = 128, kFew = 10;
  static constexpr Duration kSpan = std::chrono::seconds(2);  // what is older says nothing of now

  // At `now` a loop got to something that had been ready for `late`.
  void Saw(Time now, Duration late) {
    looks_[next_++ % kKept] = {now, std::max(late, Duration::zero())};
  }

  Duration Value(Time now) const {
    std::array<Duration, kKept> late{};
    size_t count = 0;
    for (size_t i = 0; i < std::min(next_, kKept); ++i) {
      if (now - looks_[i].at < kSpan) late[count++] = looks_[i].late;
    }
    if (count < kFew) return {};
    const auto nth = late.begin() + static_cast<std::ptrdiff_t>((9 * count + 9) / 10 - 1);
    std::nth_element(late.begin(), nth, late.begin() + static_cast<std::ptrdiff_t>(count));
    return *nth;
  }

 private:
  struct Look {
    Time at{};
    Duration late{};
  };
  std::array<Look, kKept> looks_{};
  size_t next_ = 0;
};

// Of a request that is to be answered within `limit`, both ways.
inline Duration TimeOnTheWay(Duration lag, Duration limit) { return std::min(2 * lag, limit / 2); }

}  // namespace evenkeel::policy
