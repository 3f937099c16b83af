// How many calls a gateway may run again on another node: a share of all calls, so that a cluster that is overloaded is not loaded further by its own retries.
//
// Contract: at most kReserve at once, and over any span at most kReserve and kShare of the calls in it. Pure. Thread-safety: single-owner.
// Source: issue S4, routing ("retries within a budget of 10 %").
#pragma once

#include <algorithm>
#include <cstdint>

namespace evenkeel {

class RetryBudget {
 public:
  static constexpr double kShare = 0.1, kReserve = 100;

  void OnCall() { left_ = std::min(kReserve, left_ + kShare); }
  // False: it is spent.
  bool Take() {
    if (left_ < 1) {
      ++refused_;
      return false;
    }
    left_ -= 1;
    ++taken_;
    return true;
  }
  uint64_t taken() const { return taken_; }
  uint64_t refused() const { return refused_; }

 private:
  double left_ = kReserve;
  uint64_t taken_ = 0, refused_ = 0;
};

}  // namespace evenkeel
