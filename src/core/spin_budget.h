// How long a thread may look for its next event before it goes to sleep.
//
// Waking a sleeping core costs 5 to 200 us, more than a small model's batch. Looking instead of sleeping saves that when the event comes soon, and
// wastes a core when it does not. So a thread looks for about as long as a wake-up costs (then it has lost at most as much as it could have
// won), and only while that has been paying: each look that finds nothing doubles the number of waits that go straight to sleep,
// up to 64; a wait that turns out short, looked at or slept through, ends that. A look during which the thread was pushed off its core
// means that somebody else needs the core: then it stops for 0.1 s, doubling up to 10 s.
// Contract: ask Next() before a wait; after it, tell what happened: Came() with the whole wait, or Missed() before sleeping. Pure: no clock, no system call.
// Units: Duration, Time of the caller's clock. Thread-safety: thread-compatible.
#pragma once

#include <algorithm>
#include <chrono>

#include "core/clock.h"

namespace evenkeel {

class SpinBudget {
 public:
  static constexpr Duration kLook = std::chrono::microseconds(200);
  // A sleep as long as this, the wake-up included, would have been worth a look.
  static constexpr Duration kShort = std::chrono::microseconds(400);

  explicit SpinBudget(bool allowed) : allowed_(allowed) {}

  // How long to look now; zero: sleep at once.
  Duration Next(Time now) {
    if (!allowed_ || now < banned_until_) return Duration::zero();
    if (skip_ > 0) {
      --skip_;
      return Duration::zero();
    }
    return kLook;
  }

  // The event came `waited` after the wait began.
  void Came(Duration waited) {
    if (waited <= kShort) misses_ = skip_ = 0;
  }

  // Looked for all of the time that Next() gave, in vain.
  void Missed() {
    misses_ = std::min(misses_ + 1, 6);
    skip_ = 1 << misses_;
  }

  // Was pushed off the core while it looked.
  void Disturbed(Time now) {
    ban_ = std::clamp<Duration>(2 * ban_, std::chrono::milliseconds(100), std::chrono::seconds(10));
    banned_until_ = now + ban_;
  }
  // Looked and found, undisturbed.
  void Undisturbed() { ban_ -= ban_ / 16; }

 private:
  const bool allowed_;
  int misses_ = 0;
  int skip_ = 0;
  Duration ban_{};
  Time banned_until_{};
};

}  // namespace evenkeel
