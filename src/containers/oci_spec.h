// The specification of one container, as runc reads it (config.json of a bundle).
//
// Contract: pure; the same request gives the same text. What the container has is listed here and nothing is inherited from a template:
//   own namespaces (mount, pid, ipc, uts, network without interfaces, cgroup where the kernel has them), a read-only root of
//   bind mounts, a small private /dev and /tmp, /proc read-only, no capability (but one, see `others_files`), no new privileges, seccomp, limits.
//   Paths inside are those outside, so that nothing in the channel's messages must be translated.
// The user: the daemon's own. Another uid would be a better wall, but could not read models that only the daemon's user may read (runc 1.1
//   has no idmapped mounts). No user namespace: in one, the files of other users could not be read at all, and mounts that the host has with
//   `noexec` not be bound.
// Units: bytes. Thread-safety: pure. Source: A3; the OCI runtime specification 1.0.2.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "containers/limits.h"

namespace evenkeel {

inline constexpr int64_t kTmpBytes = int64_t{16}
                                     << 20;  // of /tmp; counts against the worker's memory

struct ContainerRequest {
  std::string root;                   // folder of the mount points, absolute
  std::vector<std::string> args;      // args[0] is a path inside
  std::vector<std::string> env;       // "NAME=value"
  std::vector<std::string> readable;  // absolute: files and folders, each appears at its own path
  std::vector<std::string> writable;  // absolute: folders
  std::string init;                   // absolute path of evenkeel-init, which appears at kInitPath
  std::string cgroups_path;
  Limits limits;
  bool limit_swap = true;
  bool cgroup_namespace = true;
  bool others_files =
      false;  // some of what it is shown is closed to all but another user: CAP_DAC_OVERRIDE
  uid_t uid = 0;
  gid_t gid = 0;
  std::string label;  // annotation evenkeel.state: which daemon's it is
};

inline constexpr const char* kInitPath = "/evenkeel-init";

std::string SpecText(const ContainerRequest& request);

}  // namespace evenkeel
