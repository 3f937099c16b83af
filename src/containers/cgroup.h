// Control groups, version 1 and 2: where this process stands in them, and one group a worker below that.
//
// Use for: limits and accounting of workers. Groups are made below the daemon's own group, so what limits the daemon limits its
//   workers too: OWN/evenkeel-LABEL/NAME. LABEL stands for a state folder and tells one daemon's groups from another's.
// Contract: nothing but folders below OWN/evenkeel-LABEL is made or removed, with one exception in version 2: there a group that
//   has processes cannot hand controllers on, so the daemon moves itself to OWN/evenkeel-daemon-LABEL, if nothing else is in OWN.
// Version 2 is tested against a pretended kernel that has its rules (cgroup_test.cc); it has not run on a real one yet.
// Errors: kUnavailable (not mounted, not writable, a controller is missing), with what to do in the message.
// Thread-safety: CgroupHost is immutable and thread-safe; Cgroup is thread-compatible. Source: A3.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "containers/cgroup_files.h"
#include "containers/limits.h"
#include "core/status.h"

namespace evenkeel {

class CgroupHost {
 public:
  // What the kernel says of this process.
  static Result<CgroupHost> Detect();
  // From the texts of /proc/self/mountinfo and /proc/self/cgroup. `files` outlives the host.
  static Result<CgroupHost> FromText(std::string_view mountinfo, std::string_view own, pid_t self,
                                     const CgroupFiles& files);

  int version() const { return version_; }
  const CgroupFiles& files() const { return *files_; }
  // The daemon's own folder for "memory", "cpu" ...; empty: there is none. In version 2 one for all.
  std::string OwnFolder(const std::string& controller) const;
  // All distinct own folders, also of hierarchies without limits ("freezer", "name=systemd").
  std::vector<std::string> OwnFolders() const;
  // What `cgroupsPath` of a container must say to get OWN/`name`.
  std::string RuncPath(const std::string& name) const;

  // Could Prepare() work? Changes nothing.
  Status CheckUsable() const;
  // Makes OWN/evenkeel-LABEL ready to hold groups with limits. Idempotent.
  Status Prepare(const std::string& label) const;
  // Processors and memory that groups below OWN can have. Memory that other programs use is not subtracted.
  HostCapacity Capacity() const;

 private:
  Status CheckV2() const;
  Status PrepareV1(const std::string& base) const;
  Status PrepareV2(const std::string& base, const std::string& label) const;

  int version_ = 0;
  pid_t self_ = 0;
  const CgroupFiles* files_ = nullptr;
  std::map<std::string, std::string> own_;  // controller: folder; version 2 has ""
};

// "evenkeel-LABEL"
std::string CgroupBase(const std::string& label);

class Cgroup {
 public:
  // A handle to OWN/`name`, which need not exist. `host` outlives it.
  Cgroup(const CgroupHost& host, std::string name) : host_(&host), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  // Makes the group and sets its limits. REQUIRES: Prepare() of its label was ok. After an error nothing is left.
  Status Create(const Limits& limits) const;
  // Holds the group that is there to other cores and memory; processors and threads stay. Memory that is in use is never taken: kConflict.
  Status Adjust(const Limits& limits) const;
  // The files a process writes "0" to in order to join.
  std::vector<std::string> JoinFiles() const;
  WorkerUsage Usage() const;
  std::vector<pid_t> Processes() const;
  // Kills what runs in it and removes it, from every hierarchy. Waits up to `patience_ms` for the dead to go. A group that is
  // not there is no error.
  Status Remove(int patience_ms) const;

 private:
  std::string File(const std::string& controller, const char* file) const;
  Status SetV1(const Limits& limits) const;
  Status SetV2(const Limits& limits) const;
  Status SetMemory(int64_t bytes) const;

  const CgroupHost* host_;
  std::string name_;
};

}  // namespace evenkeel
