// Forks and executes worker programs, always from one thread of its own.
//
// Why a thread: the parent-death signal follows the *thread* that forked, not the process. Started from a pool's thread, a worker would
// be killed when the pool shrinks. This thread ends with the Spawner, and then so do all workers that it started.
// Why vfork: fork copies the daemon's page tables (milliseconds under load), vfork nothing. The child shares the daemon's memory until exec,
// so everything that it needs is prepared before, and it calls nothing but the kernel.
// Thread-safety: thread-safe; calls wait for each other.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "containers/runtime.h"
#include "core/status.h"

namespace evenkeel {

struct SpawnOptions {
  bool plain = false;     // the rung `none`: environment, privileges and processors as the daemon's
  bool renumber = false;  // inherit[i] becomes descriptor 3 + i
  std::vector<int> join;  // open cgroup.procs files of the groups that the program starts in
};

class Spawner {
 public:
  struct Started {
    pid_t pid = -1;
    int pidfd = -1;  // the caller's; -1 where the kernel has none
  };

  Spawner();
  ~Spawner();

  // `log_fd` becomes the program's stdout and stderr. Errors: as Runtime::Start.
  Result<Started> Start(const WorkerSpec& spec, int log_fd, const SpawnOptions& options = {});

 private:
  void Loop();

  std::mutex mutex_;  // guards tasks_ and stopping_
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace evenkeel
