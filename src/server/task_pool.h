// Threads that run posted tasks, so many side by side at most: for work that mostly waits.
//
// Contract: tasks begin in order; the destructor runs what was posted, then joins. Threads are made as they are needed, and stay. Thread-safety: thread-safe.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace evenkeel {

class TaskPool {
 public:
  // `most`: >= 1.
  explicit TaskPool(size_t most) : most_(most) {
    threads_.emplace_back([this] { Run(); });
  }
  ~TaskPool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  void Post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      if (idle_ < tasks_.size() && threads_.size() < most_) {
        try {
          threads_.emplace_back([this] { Run(); });
        } catch (const std::system_error&) {
          // Those that there are do it.
        }
      }
    }
    wake_.notify_one();
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      ++idle_;
      wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
      --idle_;
      if (tasks_.empty()) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    }
  }

  const size_t most_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  size_t idle_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;  // only Post() adds to them
};

}  // namespace evenkeel
