// The life of containers between `runc run` and their end, watched on one thread.
//
// Why a thread of its own: making a container takes runc tens of milliseconds, which no event loop can wait for.
// How a container lives: the spawner starts runc; runc makes the container, whose first process (evenkeel-init) waits on the lifeline,
//   and exits; the container's process is then this process's child, because this process is a subreaper; the watch sends a byte and
//   the worker's descriptors over the lifeline, and evenkeel-init sets its parent-death signal and becomes the worker. At its end the
//   watch reaps it, notes what it used, removes groups and folders, and only then tells.
// Why the descriptors do not go through runc: it makes what it hands on blocking, and that flag is common to all holders of an
//   eventfd, so that the daemon's own reads of it would block.
// Why it does not ask `runc delete` to clean up: that is another process start for three removals, which must also work without runc.
// Thread-safety: Container and ContainerWatch are thread-safe.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "containers/cgroup.h"
#include "containers/runtime.h"
#include "core/clock.h"

namespace evenkeel {

// Shared by its WorkerProcess and the watch.
class Container {
 public:
  struct Files {
    std::string bundle;  // folder: config.json, root/, pid, runc.log
    std::string state;   // runc's own folder of it
  };
  struct Making {
    pid_t runc = -1;
    int runc_pidfd = -1;         // tells the end of `runc run`
    int lifeline = -1;           // this process's end of a socket pair; kept open
    std::vector<int> handed_on;  // the worker's descriptors; closed once sent
  };
  // What holds it.
  struct Walls {
    Cgroup group;
    Limits limits;
    bool hard_cap = false;
    HostCapacity host;
  };
  // Takes the descriptors.
  Container(Files files, Walls walls, Making making);
  ~Container();

  pid_t pid() const;
  int ended_fd() const { return ended_fd_; }
  void Kill();
  bool Ended(std::string* how) const;
  WorkerUsage Usage() const;
  Status Reshape(const WorkerShape& shape);
  void AwaitEnd() const;

  // For the watch. The descriptor to wait for now, and what to do when it is readable; false once the container ended.
  int watched_fd() const;
  bool Advance();
  // Kills a runc that has hung for half a minute.
  void EndOverdueRunc(Time now);

 private:
  enum class State { kMaking, kRunning, kEnded };

  bool OnMade();   // runc exited
  bool OnEnded();  // the worker did
  void SendDescriptors();
  void CloseHandedOn();
  void Finish(std::string how);
  std::string WhyNotMade(int status) const;

  const Files files_;
  const Cgroup group_;
  const bool hard_cap_;
  const HostCapacity host_;
  Making making_;
  const Time started_;
  const int ended_fd_;

  mutable std::mutex mutex_;  // guards what follows, and the meaning of the pids
  mutable std::condition_variable changed_;
  State state_ = State::kMaking;
  Limits limits_;
  pid_t pid_ = 0;
  int pidfd_ = -1;
  bool killed_ = false;
  std::string how_;
  WorkerUsage usage_;
};

class ContainerWatch {
 public:
  ContainerWatch();   // makes this process a subreaper
  ~ContainerWatch();  // kills all and waits for their ends

  void Add(std::shared_ptr<Container> container);
  void EndAll();

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable empty_;
  std::vector<std::shared_ptr<Container>> containers_;
  bool stopping_ = false;
  int wake_ = -1;
  std::thread thread_;
};

}  // namespace evenkeel
