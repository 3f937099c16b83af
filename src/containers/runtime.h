// Starts and ends worker processes. The ladder none | process | cgroup | oci grows behind this interface; today: process.
//
// Contract: a started worker dies with the daemon and with the Runtime that started it (parent-death signal), has its own session, reads nothing from stdin, and its stderr goes to the daemon's
//   log line by line. Only the descriptors in `inherit` are passed on.
// Thread-safety: thread-safe.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"

namespace evenkeel {

struct WorkerSpec {
  std::string executable;  // absolute path
  std::vector<std::string> args;
  std::vector<std::string> env;  // "NAME=value", added to a small fixed environment
  std::vector<int> inherit;      // descriptors that stay open, same numbers
  std::vector<int> cpus;         // affinity; empty: the daemon's own
  std::string log_name;          // "digits/1#0": put before its stderr lines
};

class WorkerProcess {
 public:
  virtual ~WorkerProcess() = default;  // kills (SIGKILL) and reaps if still running
  virtual pid_t pid() const = 0;
  // Becomes readable once the process ended: for EventLoop::Watch. Stays this object's; -1 where the kernel has none (before 5.3).
  virtual int pidfd() const { return -1; }
  virtual void Kill() = 0;  // SIGKILL; does not wait
  // True once it ended; `how` then says "exit 3" or "signal 9 (Killed)". Does not block.
  virtual bool Ended(std::string* how) = 0;
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  // Returns once the program runs: under a millisecond. Errors: kInvalidArgument (relative path, descriptor below 3), kUnavailable
  // (no such program, no more processes or descriptors), with errno's text.
  virtual Result<std::unique_ptr<WorkerProcess>> Start(const WorkerSpec& spec) = 0;
};

std::unique_ptr<Runtime> MakeProcessRuntime();

}  // namespace evenkeel
