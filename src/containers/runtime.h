// Starts and ends worker processes, on one of four rungs of isolation.
//
//   none     a plain child process, for debugging: may dump core, gain privileges, keeps the daemon's environment
//   process  own session, few descriptors, small environment, no new privileges, bound to processors
//   cgroup   that, and held to a WorkerShape by control groups, which also count what it used
//   oci      that, in a container of its own by runc: no network, a read-only root of what it needs, no capabilities, seccomp
//
// Contract: a started worker dies with the daemon and with the Runtime that started it, reads nothing from stdin, and its stderr
//   goes to the daemon's log line by line. Only the descriptors in `inherit` are passed on. Nothing lasting is left by a worker
//   that ended; what a killed daemon left is removed by MakeRuntime() with the same state folder.
// Thread-safety: thread-safe. Source: A3.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "containers/limits.h"
#include "containers/shape.h"
#include "core/status.h"

namespace evenkeel {

enum class Rung : uint8_t { kNone, kProcess, kCgroup, kOci };
std::string_view NameOf(Rung rung);
std::string_view DescriptionOf(Rung rung);  // what workers are on it, in words

struct WorkerSpec {
  std::string executable;  // absolute path
  std::vector<std::string> args;
  std::vector<std::string> env;  // "NAME=value", added to a small fixed environment
  std::vector<int> inherit;      // descriptors that stay open, same numbers
  std::vector<int> cpus;         // processors it may run on; empty: the daemon's own
  std::string log_name;          // "digits/1#0": put before its stderr lines
  // The rest is for the rungs that can: cgroup and oci hold a worker to its shape, oci shows it only these files.
  std::optional<WorkerShape> shape;  // empty: no limit of memory or cores
  bool hard_cap = false;             // a quota for whole cores too; see LimitsOf()
  bool background =
      false;  // gives way: least weight against whatever else wants the cores, where the rung and kernel allow
  std::vector<std::string>
      readable;  // absolute: files and folders, besides the program and its libraries
  std::vector<std::string> writable;  // absolute: folders
};

class WorkerProcess {
 public:
  virtual ~WorkerProcess() = default;  // kills (SIGKILL) and reaps if still running
  virtual pid_t pid() const = 0;       // 0 while a container is being made
  // Becomes readable once the worker ended: for EventLoop::Watch. Stays this object's; -1 where the kernel has none (before 5.3).
  virtual int pidfd() const { return -1; }
  virtual void Kill() = 0;  // SIGKILL; does not wait
  // True once it ended; `how` then says "exit 3", "signal 9 (Killed)", "signal 9 (Killed): out of memory, 256MiB allowed" or why
  // its container was not made. Does not block.
  virtual bool Ended(std::string* how) = 0;
  // What it has used so far, or, once it ended, in all.
  virtual WorkerUsage Usage() const = 0;
  // Holds it to other cores and memory from now on, where the rung holds a worker to any; on the others nothing happens. Some writes to
  // files, no waiting. Errors, after which it is held to what it was: kInvalidArgument (a shape that the host cannot hold), kConflict (it
  // uses more memory than that), kUnavailable (it is being made, has ended, or the kernel refuses).
  virtual Status Reshape(const WorkerShape& /*shape*/) { return Status::Ok(); }
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Rung rung() const = 0;
  // Returns within a millisecond or two; a container is then still being made, and the worker has ended if that fails. Errors:
  // kInvalidArgument (relative path, descriptor below 3, a shape that the host cannot hold), kUnavailable (no such program or
  // path, no more processes or descriptors), with errno's text.
  virtual Result<std::unique_ptr<WorkerProcess>> Start(const WorkerSpec& spec) = 0;
  // Kills what runs and removes what it leaves. For a daemon that is about to exit without destroying its objects; nothing is
  // started afterwards.
  virtual void EndAll() {}
};

struct RuntimeOptions {
  // "none", "process", "cgroup", "oci"; "auto": the highest that was seen to start something, see RungsForAuto()
  std::string choice = "auto";
  std::string state;    // absolute folder: containers live in STATE/containers
  std::string libexec;  // absolute folder of evenkeel-init; for oci and auto
};

// Error: the chosen rung does not work here, with why and what to do. For "auto" there is always one that works; each that is tried takes
// some tens of milliseconds, half a minute where runc hangs, and one that fails is warned of.
Result<std::unique_ptr<Runtime>> MakeRuntime(const RuntimeOptions& options);

// Which rung the daemon of a state folder has taken, for those who measure for it: a file in the folder. nullopt: it is not known.
Status KeepRung(const std::string& state, Rung rung);
std::optional<Rung> KeptRung(const std::string& state);

// What doctor says of a rung. `why` is empty if it works.
struct RungReport {
  Rung rung = Rung::kProcess;
  bool works = false;
  std::string why, fix;
};
// All four, lowest first. Changes nothing.
std::vector<RungReport> ProbeRungs(const std::string& libexec);

// Which rungs `auto` tries, highest first; never `none`.
struct AutoRungs {
  std::vector<Rung> order;
  std::string left_out;  // a rung that works and is not tried, with why; empty: none
};
// `devices`: the folder of device files; containers are given none, so that an accelerator is worth more than they are.
AutoRungs RungsForAuto(const std::vector<RungReport>& reports, const std::string& devices = "/dev");

// The rungs `process` and `none`.
std::unique_ptr<Runtime> MakeProcessRuntime(Rung rung = Rung::kProcess);

}  // namespace evenkeel
