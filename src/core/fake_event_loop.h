// An EventLoop driven by hand, for tests: tasks run in RunPosted(), alarms when the manual clock has passed them.
//
// Thread-safety: single-owner (the test's thread).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/event_loop.h"

namespace evenkeel {

class FakeEventLoop final : public EventLoop {
 public:
  explicit FakeEventLoop(const ManualClock& clock) : clock_(clock) {}

  void Post(std::function<void()> task) override { tasks_.push_back(std::move(task)); }
  void Watch(int fd, std::function<void()> on_readable) override {
    watched_[fd] = std::move(on_readable);
  }
  void Unwatch(int fd) override { watched_.erase(fd); }
  bool InLoopThread() const override { return true; }

  std::unique_ptr<Alarm> MakeAlarm(std::function<void()> on_time) override {
    auto alarm = std::make_unique<FakeAlarm>(this, std::move(on_time));
    alarms_.insert(alarm.get());
    return alarm;
  }

  // Runs what was posted, also by the tasks themselves, and every alarm that is due.
  void RunPosted() {
    bool more = true;
    while (more) {
      more = !tasks_.empty();
      while (!tasks_.empty()) {
        auto task = std::move(tasks_.front());
        tasks_.pop_front();
        task();
      }
      for (FakeAlarm* alarm : std::vector<FakeAlarm*>(alarms_.begin(), alarms_.end())) {
        if (alarms_.count(alarm) == 0 || alarm->at > clock_.Now()) continue;
        alarm->at = kNever;
        more = true;
        alarm->on_time();
      }
    }
  }

  // The earliest alarm that is set, or kNever.
  Time NextAlarm() const {
    Time next = kNever;
    for (const FakeAlarm* alarm : alarms_) next = std::min(next, alarm->at);
    return next;
  }

 private:
  struct FakeAlarm final : Alarm {
    FakeAlarm(FakeEventLoop* l, std::function<void()> f) : loop(l), on_time(std::move(f)) {}
    ~FakeAlarm() override { loop->alarms_.erase(this); }
    void Set(Time when) override { at = when; }
    FakeEventLoop* loop;
    std::function<void()> on_time;
    Time at = kNever;
  };

  const ManualClock& clock_;
  std::deque<std::function<void()>> tasks_;
  std::map<int, std::function<void()>> watched_;
  std::set<FakeAlarm*> alarms_;
};

}  // namespace evenkeel
