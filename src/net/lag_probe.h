// How late a loop gets to what is ready: an alarm now and then, and how much after its time it rings.
//
// What keeps the alarm waiting keeps an event that comes at that moment waiting: the thread's way to a core, and what the loop has still to do before it looks. At no
//   particular moment: each alarm is set for 5 to 15 ms ahead, at random, so that it does not fall in step with anything.
// Contract: an alarm is set only when the loop has handled an event since the last one rang: a loop at rest wakes for one alarm and sleeps on.
// Cost: about 100 alarms a second under load, some 5 us each: less than 0.1 % of a core.
// Differs from asking the kernel when bytes came (SO_TIMESTAMPNS): that costs each recv() a control message, is not had through TLS, and knows nothing of workers' events.
// Thread-safety: single-owner (the loop's thread).
#pragma once

#include <functional>
#include <memory>
#include <random>

#include "core/clock.h"
#include "core/event_loop.h"

namespace evenkeel {

class IoLoop;

class LagProbe {
 public:
  static constexpr Duration kShortest = std::chrono::milliseconds(5);
  static constexpr Duration kLongest = std::chrono::milliseconds(15);
  // By which the kernel may put off a timer, and not an event (timer slack of a thread, prctl(2)).
  static constexpr Duration kTimerSlack = std::chrono::microseconds(50);

  // At `now` the loop got to what had been ready for `late` (>= 0). Called on the loop's thread.
  using Sink = std::function<void(Time now, Duration late)>;

  LagProbe(EventLoop& loop, const Clock& clock, Sink sink);
  // The loop has handled an event. Cheap.
  void Handled();

 private:
  void OnTime();

  const Clock& clock_;
  const Sink sink_;
  Time due_ = kNever;  // of the alarm that is set
  std::minstd_rand random_;
  std::unique_ptr<Alarm> alarm_;
};

// Probes `loop` for as long as it runs. REQUIRES: loop's thread, or before Start(); the sink outlives the loop.
void ProbeLag(IoLoop& loop, LagProbe::Sink sink);

}  // namespace evenkeel
