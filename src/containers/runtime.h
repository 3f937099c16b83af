// Starts and ends worker processes. The ladder none | process | cgroup | oci grows behind this interface; today: process.
//
// Contract: a started worker dies with the daemon (parent-death signal), has its own session, reads nothing from stdin, and its stderr goes to the daemon's
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
  std::string executable;                // absolute path
  std::vector<std::string> args;
  std::vector<std::string> env;          // "NAME=value", added to a small fixed environment
  std::vector<int> inherit;              // descriptors that stay open, same numbers
  std::vector<int> cpus;                 // affinity; empty: the daemon's own
  std::string log_name;                  // "digits/1#0": put before its stderr lines
};

class WorkerProcess {
 public:
  virtual ~WorkerProcess() = default;    // kills (SIGKILL) and reaps if still running
  virtual pid_t pid() const = 0;
  virtual void Kill() = 0;               // SIGKILL; does not wait
  // True once it ended; `how` then says "exit 3" or "signal 9 (Killed)". Does not block.
  virtual bool Ended(std::string* how) = 0;
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Result<std::unique_ptr<WorkerProcess>> Start(const WorkerSpec& spec) = 0;
};

std::unique_ptr<Runtime> MakeProcessRuntime();

}  // namespace evenkeel
