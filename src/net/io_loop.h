// The daemon's event loop: one thread that waits on epoll, alarms and posted tasks.
//
// Use for: HTTP connections, worker channels, the scheduler's wake-ups; several may share one loop.
//   Not for: work that blocks.
// Contract: as EventLoop. A turn runs I/O events, then due alarms, then posted tasks, then turn-end
//   hooks; the thread sleeps only when nothing is left to do. Stop() ends after the current turn;
//   tasks posted later never run.
// Units: alarms have the kernel timer's resolution (about 50 us), not milliseconds. Alarms do not
//   outlive the loop.
// Thread-safety: thread-safe, but for Add, Modify, Remove and AtTurnEnd: loop's thread (or before
//   Start()).
// Differs from the design's Asio reactor: that one pays a recv() that fails for every request on a
//   kept connection. Measured side by side by bench/http_echo_floor and bench/http_server_echo:
//   0.65 of the bare Beast echo's CPU time a request.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/event_loop.h"
#include "core/spin_budget.h"
#include "core/status.h"

namespace evenkeel {

// Receives the events of one descriptor added with IoLoop::Add.
class IoHandler {
 public:
  virtual ~IoHandler() = default;
  virtual void OnIo(uint32_t epoll_events) = 0;
};

class IoLoop final : public EventLoop {
 public:
  // `name` (15 characters at most) is shown as the thread's name. Error kInternal when the process
  // is out of descriptors.
  static Result<std::unique_ptr<IoLoop>> Create(std::string name);
  ~IoLoop() override;  // stops and joins

  void Start();  // starts the thread; once
  void Stop();   // asks the thread to end
  void Join();   // waits for it; not on the loop's thread
  bool running() const { return running_.load(std::memory_order_acquire); }

  void Post(std::function<void()> task) override;
  void Watch(int fd, std::function<void()> on_readable) override;
  void Unwatch(int fd) override;
  std::unique_ptr<Alarm> MakeAlarm(std::function<void()> on_time) override;
  bool InLoopThread() const override;
  // The thread looks for events until the input is there, but not beyond `until`; less where that has not been paying (SpinBudget).
  void ExpectSoon(int fd, Time until) override;

  // `events` as in epoll_ctl. After Remove() returns the handler gets no event, also none of those
  // that are due in this turn. REQUIRES: loop's thread. False when the kernel refuses (out of
  // memory or watches).
  bool Add(int fd, uint32_t events, IoHandler* handler);
  bool Modify(int fd, uint32_t events, IoHandler* handler);
  void Remove(int fd, IoHandler* handler);
  // `hook` runs at the end of every turn, until the loop ends. REQUIRES: loop's thread, or before
  // Start().
  void AtTurnEnd(std::function<void()> hook);
  // The time this turn's events were read; saves a clock read a request. REQUIRES: loop's thread.
  Time turn_time() const { return turn_time_; }
  // Events that were given to handlers since the start. REQUIRES: loop's thread, or before Start().
  uint64_t events_handled() const { return events_handled_; }

 private:
  struct Watched;
  struct Timer;
  class LoopAlarm;

  IoLoop(std::string name, int epoll_fd, int wake_fd);
  void Run();
  void RunEvents();
  void Wait(Duration timeout);
  Time ExpectedBy();
  bool Look(Time begin, Time expected, Time alarm);
  void Poll(const timespec* limit);
  void Arrived(int fd);
  Duration UntilNextAlarm();
  void RunAlarms();
  void RunTasks();
  void DropRetired();
  void Wake();
  void SetTimer(const std::shared_ptr<Timer>& timer, Time at);

  const std::string name_;
  const int epoll_fd_;
  const int wake_fd_;
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_{};
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::atomic<bool> wake_pending_{
      false};  // an eventfd write is on its way; spares one a post in a burst

  // Loop's thread only.
  std::vector<epoll_event> events_;
  int event_count_ = 0;
  int event_next_ = 0;
  Time turn_time_{};
  uint64_t events_handled_ = 0;
  SpinBudget spin_{true};
  std::vector<std::function<void()>> hooks_;
  std::vector<std::function<void()>> running_tasks_;

  std::mutex mutex_;  // guards what follows; never held while a callback runs
  std::vector<std::function<void()>> tasks_;
  std::set<std::pair<Time, std::shared_ptr<Timer>>> timers_;
  std::unordered_map<int, std::shared_ptr<Watched>> watched_;
  std::vector<std::pair<int, Time>> expected_;     // descriptors that will have input soon
  std::vector<std::shared_ptr<Watched>> retired_;  // unwatched, but perhaps in events_ still
};

}  // namespace evenkeel
