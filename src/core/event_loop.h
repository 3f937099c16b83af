// What the scheduling code needs from a thread that waits: file descriptors, one-shot wake-ups, tasks.
//
// Implemented over epoll in net/ and by a hand-driven fake in tests.
// Contract: callbacks run on the loop's thread, one at a time. After Unwatch() or Cancel() returns *on the loop's thread*
// the callback does not run any more. Callbacks must not block.
// Thread-safety: Post() is thread-safe and RunAt()/Watch()/Unwatch() too; Alarm methods are thread-safe.
#pragma once

#include <functional>
#include <memory>

#include "core/clock.h"

namespace evenkeel {

// A re-armable wake-up. Set() replaces the earlier time; kNever disarms. Destroying it disarms it.
class Alarm {
 public:
  virtual ~Alarm() = default;
  virtual void Set(Time at) = 0;
};

class EventLoop {
 public:
  virtual ~EventLoop() = default;
  // Runs `task` later on the loop's thread.
  virtual void Post(std::function<void()> task) = 0;
  // Calls `on_readable` whenever `fd` has input (level-triggered: the callback drains it). The fd stays the caller's.
  virtual void Watch(int fd, std::function<void()> on_readable) = 0;
  virtual void Unwatch(int fd) = 0;
  // `fd` (watched) will have input by `until`, most likely, and a core is free meanwhile: the loop may look for it instead of sleeping. A hint.
  virtual void ExpectSoon(int fd, Time until) {
    static_cast<void>(fd);
    static_cast<void>(until);
  }
  virtual std::unique_ptr<Alarm> MakeAlarm(std::function<void()> on_time) = 0;
  virtual bool InLoopThread() const = 0;
};

}  // namespace evenkeel
