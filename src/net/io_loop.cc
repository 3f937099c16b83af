#include "net/io_loop.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "core/check.h"
#include "core/format.h"
#include "core/spin.h"

namespace evenkeel {
namespace {

constexpr size_t kEventsPerTurn = 256;

// What was written before a descriptor was added is seen by the thread that gets its events: the kernel orders them. ThreadSanitizer knows that of
// epoll_wait(), not of epoll_pwait2().
#if defined(__SANITIZE_THREAD__)  // g++
#define EK_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)  // clang
#define EK_THREAD_SANITIZER
#endif
#endif
#ifdef EK_THREAD_SANITIZER
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
void AfterPoll(void* loop) { __tsan_acquire(loop); }
void BeforeAdd(void* loop) { __tsan_release(loop); }
#else
void AfterPoll(void*) {}
void BeforeAdd(void*) {}
#endif

}  // namespace

struct IoLoop::Watched final : IoHandler {
  Watched(IoLoop* owner, int descriptor, std::function<void()> f)
      : loop(owner), fd(descriptor), on_readable(std::move(f)) {}
  void OnIo(uint32_t) override {
    if (gone.load(std::memory_order_acquire)) return;
    loop->Arrived(fd);
    on_readable();
  }
  IoLoop* const loop;
  const int fd;
  const std::function<void()> on_readable;
  std::atomic<bool> gone{false};  // Unwatch() may come from any thread
};

struct IoLoop::Timer {
  std::function<void()> on_time;
  Time at = kNever;  // guarded by the loop's mutex_; kNever: not in timers_
};

class IoLoop::LoopAlarm final : public Alarm {
 public:
  LoopAlarm(IoLoop* loop, std::function<void()> on_time)
      : loop_(loop), timer_(std::make_shared<Timer>()) {
    timer_->on_time = std::move(on_time);
  }
  ~LoopAlarm() override { loop_->SetTimer(timer_, kNever); }
  void Set(Time at) override { loop_->SetTimer(timer_, at); }

 private:
  IoLoop* const loop_;
  const std::shared_ptr<Timer> timer_;
};

Result<std::unique_ptr<IoLoop>> IoLoop::Create(std::string name) {
  const int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  const int wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;  // null: the wake-up itself
  if (epoll_fd < 0 || wake_fd < 0 || ::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
    const int error = errno;
    if (epoll_fd >= 0) ::close(epoll_fd);
    if (wake_fd >= 0) ::close(wake_fd);
    return Internal("event loop '{}': {}", name, std::strerror(error));
  }
  return std::unique_ptr<IoLoop>(new IoLoop(std::move(name), epoll_fd, wake_fd));
}

IoLoop::IoLoop(std::string name, int epoll_fd, int wake_fd)
    : name_(std::move(name)), epoll_fd_(epoll_fd), wake_fd_(wake_fd), events_(kEventsPerTurn) {}

IoLoop::~IoLoop() {
  Stop();
  Join();
  // Tasks that never ran and callbacks may own alarms of this loop, so they go while it is whole.
  std::vector<std::function<void()>> tasks = std::move(tasks_);
  std::unordered_map<int, std::shared_ptr<Watched>> watched = std::move(watched_);
  tasks.clear();
  watched.clear();
  hooks_.clear();
  ::close(wake_fd_);
  ::close(epoll_fd_);
}

void IoLoop::Start() {
  EK_CHECK(!thread_.joinable());
  running_.store(true, std::memory_order_release);
  thread_ = std::thread([this] { Run(); });
  ::pthread_setname_np(thread_.native_handle(), name_.substr(0, 15).c_str());
}

void IoLoop::Stop() {
  stop_.store(true, std::memory_order_release);
  Wake();
}

void IoLoop::Join() {
  if (thread_.joinable()) thread_.join();
}

bool IoLoop::InLoopThread() const {
  return thread_id_.load(std::memory_order_acquire) == std::this_thread::get_id();
}

void IoLoop::Wake() {
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the loop wakes anyway.
  [[maybe_unused]] const ssize_t n = ::write(wake_fd_, &one, sizeof one);
}

void IoLoop::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  // On its own thread the loop looks at the tasks before it sleeps.
  if (!InLoopThread()) Wake();
}

void IoLoop::Watch(int fd, std::function<void()> on_readable) {
  auto watched = std::make_shared<Watched>(this, fd, std::move(on_readable));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = static_cast<IoHandler*>(watched.get());
  const std::lock_guard lock(mutex_);
  watched_[fd] = watched;
  BeforeAdd(this);
  EK_CHECK(::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0);
}

void IoLoop::Unwatch(int fd) {
  const std::lock_guard lock(mutex_);
  const auto it = watched_.find(fd);
  if (it == watched_.end()) return;
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  it->second->gone.store(true, std::memory_order_release);
  // Freed after the turn: the events already read may point at it.
  retired_.push_back(std::move(it->second));
  watched_.erase(it);
  std::erase_if(expected_, [fd](const auto& e) { return e.first == fd; });
}

void IoLoop::ExpectSoon(int fd, Time until) {
  {
    const std::lock_guard lock(mutex_);
    if (!watched_.contains(fd)) return;
    expected_.emplace_back(fd, until);
  }
  // Asleep it cannot look.
  if (!InLoopThread()) Wake();
}

void IoLoop::Arrived(int fd) {
  const std::lock_guard lock(mutex_);
  std::erase_if(expected_, [fd](const auto& e) { return e.first == fd; });
}

std::unique_ptr<Alarm> IoLoop::MakeAlarm(std::function<void()> on_time) {
  return std::make_unique<LoopAlarm>(this, std::move(on_time));
}

void IoLoop::SetTimer(const std::shared_ptr<Timer>& timer, Time at) {
  bool earlier = false;
  {
    const std::lock_guard lock(mutex_);
    if (timer->at == at) return;
    if (timer->at != kNever) timers_.erase({timer->at, timer});
    timer->at = at;
    if (at != kNever) {
      const auto placed = timers_.emplace(at, timer).first;
      earlier = placed == timers_.begin();
    }
  }
  if (earlier && !InLoopThread()) Wake();
}

bool IoLoop::Add(int fd, uint32_t events, IoHandler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  BeforeAdd(this);
  return ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool IoLoop::Modify(int fd, uint32_t events, IoHandler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  return ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0;
}

void IoLoop::Remove(int fd, IoHandler* handler) {
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  for (int i = event_next_; i < event_count_; ++i) {
    epoll_event& event = events_[static_cast<size_t>(i)];
    // An event for nobody is skipped; null is the wake-up, which is harmless once more.
    if (event.data.ptr == handler) event.data.ptr = nullptr;
  }
}

void IoLoop::AtTurnEnd(std::function<void()> hook) { hooks_.push_back(std::move(hook)); }

void IoLoop::Run() {
  thread_id_.store(std::this_thread::get_id(), std::memory_order_release);
  while (!stop_.load(std::memory_order_acquire)) {
    Wait(UntilNextAlarm());
    turn_time_ = SteadyClock::Instance().Now();
    RunEvents();
    RunAlarms();
    RunTasks();
    for (const auto& hook : hooks_) hook();
    DropRetired();
  }
  running_.store(false, std::memory_order_release);
}

void IoLoop::DropRetired() {
  std::vector<std::shared_ptr<Watched>> gone;
  const std::lock_guard lock(mutex_);
  // Freed after the lock, which is released first: callbacks may own alarms of this loop.
  gone.swap(retired_);
}

// How long the thread may sleep; zero when tasks wait, negative for "until something happens".
Duration IoLoop::UntilNextAlarm() {
  const std::lock_guard lock(mutex_);
  if (!tasks_.empty()) return Duration::zero();
  if (timers_.empty()) return Duration(-1);
  const Duration left = timers_.begin()->first - SteadyClock::Instance().Now();
  return std::max(left, Duration::zero());
}

void IoLoop::Wait(Duration timeout) {
  const Time expected = timeout == Duration::zero() ? Time{} : ExpectedBy();
  const Time begin = expected == Time{} ? Time{} : SteadyClock::Instance().Now();
  if (expected > begin) {
    if (Look(begin, expected, timeout < Duration::zero() ? kNever : begin + timeout)) return;
    // The look was a part of the time until the next alarm.
    if (timeout > Duration::zero())
      timeout = std::max(timeout - (SteadyClock::Instance().Now() - begin), Duration::zero());
  }
  timespec limit{};
  if (timeout > Duration::zero()) {
    limit.tv_sec = static_cast<time_t>(timeout.count() / 1'000'000'000);
    limit.tv_nsec = static_cast<long>(timeout.count() % 1'000'000'000);
  }
  Poll(timeout < Duration::zero() ? nullptr : &limit);
  if (expected > begin && event_count_ > 0) spin_.Came(SteadyClock::Instance().Now() - begin);
}

// The last time at which an event is expected; Time{}: none is.
Time IoLoop::ExpectedBy() {
  const std::lock_guard lock(mutex_);
  if (expected_.empty()) return Time{};
  const Time now = SteadyClock::Instance().Now();
  std::erase_if(expected_, [now](const auto& e) { return e.second <= now; });
  Time latest{};
  for (const auto& [fd, by] : expected_) latest = std::max(latest, by);
  return latest;
}

// Looks for events until they are expected at the latest, or an alarm is due, where that has been paying. True: there are some.
bool IoLoop::Look(Time begin, Time expected, Time alarm) {
  if (spin_.Next(begin) == Duration::zero()) return false;
  const long preemptions = Preemptions();
  const timespec none{};
  Time now = begin;
  do {
    Poll(&none);
    now = SteadyClock::Instance().Now();
  } while (event_count_ == 0 && now < std::min(expected, alarm));
  const bool found = event_count_ > 0;
  if (Preemptions() != preemptions) {
    spin_.Disturbed(now);
  } else if (found) {
    spin_.Undisturbed();
  }
  if (found) {
    spin_.Came(now - begin);
  } else if (now >= expected) {
    // One that an alarm ended does not say that looking is in vain, and goes on after it.
    spin_.Missed();
  }
  return found;
}

void IoLoop::Poll(const timespec* limit) {
  event_next_ = 0;
  event_count_ =
      ::epoll_pwait2(epoll_fd_, events_.data(), static_cast<int>(events_.size()), limit, nullptr);
  AfterPoll(this);
  if (event_count_ < 0) {
    event_count_ = 0;
    EK_CHECK(errno == EINTR);
  }
}

void IoLoop::RunEvents() {
  while (event_next_ < event_count_) {
    const epoll_event& event = events_[static_cast<size_t>(event_next_++)];
    if (event.data.ptr != nullptr) {
      ++events_handled_;
      static_cast<IoHandler*>(event.data.ptr)->OnIo(event.events);
    } else {
      // Edge-triggered: the counter needs no read. A post after this line writes again.
      wake_pending_.store(false, std::memory_order_release);
    }
  }
  event_count_ = 0;
}

// One alarm may set itself again in the past: it waits for the next turn then.
void IoLoop::RunAlarms() {
  size_t left = 0;
  {
    const std::lock_guard lock(mutex_);
    left = timers_.size();
  }
  for (; left > 0; --left) {
    std::shared_ptr<Timer> due;
    {
      const std::lock_guard lock(mutex_);
      if (timers_.empty() || timers_.begin()->first > turn_time_) return;
      due = timers_.begin()->second;
      timers_.erase(timers_.begin());
      due->at = kNever;
    }
    due->on_time();
  }
}

// Runs the tasks posted so far; those they post themselves wait for the next turn, so that I/O is
// not starved.
void IoLoop::RunTasks() {
  {
    const std::lock_guard lock(mutex_);
    running_tasks_.swap(tasks_);
  }
  for (auto& task : running_tasks_) {
    task();
    task = nullptr;  // what it holds goes now, not when the burst has ended
  }
  running_tasks_.clear();
}

}  // namespace evenkeel
