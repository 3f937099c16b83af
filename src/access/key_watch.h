// Has an Authorizer look at its keys once a second, on a thread of its own.
//
// Thread-safety: single-owner. The Authorizer outlives it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "core/clock.h"

namespace evenkeel {

class Authorizer;

class KeyWatch {
 public:
  explicit KeyWatch(Authorizer& authorizer, Duration every = std::chrono::seconds(1));
  // Waits for the look that is under way.
  ~KeyWatch();
  KeyWatch(const KeyWatch&) = delete;
  KeyWatch& operator=(const KeyWatch&) = delete;

 private:
  void Run();

  Authorizer& authorizer_;
  const Duration every_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace evenkeel
