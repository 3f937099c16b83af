#include "access/key_watch.h"

#include <sys/prctl.h>

#include "access/authorizer.h"

namespace evenkeel {

KeyWatch::KeyWatch(Authorizer& authorizer, Duration every)
    : authorizer_(authorizer), every_(every), thread_([this] { Run(); }) {}

KeyWatch::~KeyWatch() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  thread_.join();
}

void KeyWatch::Run() {
  ::prctl(PR_SET_NAME, "ek-keys");
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, every_, [this] { return end_; })) {
    lock.unlock();
    authorizer_.Refresh();
    lock.lock();
  }
}

}  // namespace evenkeel
