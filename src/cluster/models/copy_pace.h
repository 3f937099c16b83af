// How fast a copy may go: after so many bytes, when the next may be asked for.
//
// Contract: over any time the bytes taken are at most rate x time, and one piece. Time that nothing was taken in is not made up for.
// Units: bytes a second. Thread-safety: single-owner.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/clock.h"

namespace evenkeel {

class CopyPace {
 public:
  explicit CopyPace(int64_t bytes_per_s) : bytes_per_s_(std::max<int64_t>(bytes_per_s, 1)) {}

  // How long to wait before the next piece.
  Duration Wait(Time now) const { return std::max(Duration(0), next_ - now); }
  void Took(uint64_t bytes, Time now) {
    const double seconds = static_cast<double>(bytes) / static_cast<double>(bytes_per_s_);
    next_ = std::max(next_, now) +
            std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  }
  // So large that a piece takes about a quarter of a second, and the line is not silent for long.
  uint64_t PieceBytes(uint64_t most) const {
    return std::clamp<uint64_t>(static_cast<uint64_t>(bytes_per_s_) / 4,
                                std::min<uint64_t>(most, 16 << 10), most);
  }

 private:
  const int64_t bytes_per_s_;
  Time next_{};
};

}  // namespace evenkeel
