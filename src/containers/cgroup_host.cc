// Where this process stands in the control groups, and what it may hand on to its workers.
#include <fmt/ranges.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "containers/cgroup.h"
#include "containers/cgroup_text.h"
#include "core/format.h"

namespace evenkeel {
namespace {

constexpr std::string_view kAside = "evenkeel-daemon-";

struct Mount {
  bool v2 = false;
  std::string root, point;
  std::vector<std::string> options;  // the superblock's: names of controllers among them
};

// "36 35 0:30 ROOT POINT rw,relatime shared:1 - TYPE SOURCE OPTIONS"
std::optional<Mount> ParseMount(std::string_view line) {
  const size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return std::nullopt;
  const auto before = Split(line.substr(0, dash), ' ');
  const auto after = Split(line.substr(dash + 3), ' ');
  if (before.size() < 5 || after.size() < 3) return std::nullopt;
  if (after[0] != "cgroup" && after[0] != "cgroup2") return std::nullopt;
  Mount mount{after[0] == "cgroup2", std::string(before[3]), std::string(before[4]), {}};
  for (const auto option : Split(after[2], ',')) mount.options.emplace_back(option);
  return mount;
}

// The own group as a folder below the mount. In a container the mount may show only a part of the tree, at ROOT.
std::string FolderOf(const Mount& mount, std::string_view own, const CgroupFiles& files) {
  std::string_view below = own;
  if (mount.root != "/" && below.starts_with(mount.root)) below.remove_prefix(mount.root.size());
  while (below.starts_with('/')) below.remove_prefix(1);
  const std::string folder = below.empty() ? mount.point : fmt::format("{}/{}", mount.point, below);
  return files.Exists(folder) ? folder : mount.point;
}

// A daemon of version 2 has moved itself into a group of its own (PrepareV2): its workers' are beside that, not in it.
std::string_view WithoutAside(std::string_view own) {
  const size_t last = own.rfind('/');
  if (last == std::string_view::npos || !own.substr(last + 1).starts_with(kAside)) return own;
  return last == 0 ? "/" : own.substr(0, last);
}

std::string Slurp(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

Result<CgroupHost> CgroupHost::Detect() {
  return FromText(Slurp("/proc/self/mountinfo"), Slurp("/proc/self/cgroup"), ::getpid(),
                  CgroupFiles::System());
}

Result<CgroupHost> CgroupHost::FromText(std::string_view mountinfo, std::string_view own,
                                        pid_t self, const CgroupFiles& files) {
  CgroupHost host;
  host.self_ = self;
  host.files_ = &files;
  std::vector<Mount> mounts;
  for (const auto line : Split(mountinfo, '\n')) {
    if (auto mount = ParseMount(line)) mounts.push_back(std::move(*mount));
  }
  std::map<std::string, std::string> unlimited;  // version 2 beside version 1: no controllers there
  for (const auto line : Split(own, '\n')) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view path = line.substr(second + 1);
    const auto names = Split(line.substr(first + 1, second - first - 1), ',');
    for (const Mount& mount : mounts) {
      if (names.empty() && mount.v2)
        unlimited.try_emplace("", FolderOf(mount, WithoutAside(path), files));
      for (const auto name : names) {
        if (!mount.v2 && std::ranges::find(mount.options, name) != mount.options.end()) {
          host.own_.try_emplace(std::string(name), FolderOf(mount, path, files));
        }
      }
    }
  }
  host.version_ = host.own_.contains("cpu") || host.own_.contains("memory") ? 1 : 2;
  host.own_.merge(unlimited);
  if (host.version_ == 2 && !host.own_.contains("")) {
    return Unavailable(
        "no control groups are mounted: expected a mount of type cgroup2 (or cgroup), as by "
        "mount -t cgroup2 none /sys/fs/cgroup");
  }
  return host;
}

std::string CgroupHost::OwnFolder(const std::string& controller) const {
  const auto found = own_.find(version_ == 2 ? "" : controller);
  return found == own_.end() ? std::string() : found->second;
}

std::vector<std::string> CgroupHost::OwnFolders() const {
  std::set<std::string> folders;
  for (const auto& [controller, folder] : own_) folders.insert(folder);
  return {folders.begin(), folders.end()};
}

std::string CgroupHost::RuncPath(const std::string& name) const {
  if (version_ == 1) return name;  // relative: below the caller's own group in each hierarchy
  // In version 2 the daemon may have moved itself, so the place is given in full, without the mount point.
  const std::string own = OwnFolder("");
  std::string mount = own;
  const CgroupFiles& files = *files_;
  // The root of the hierarchy is the folder above which there are no groups.
  for (std::string up = own; files.Exists(up + "/cgroup.procs"); up = up.substr(0, up.rfind('/'))) {
    mount = up;
  }
  return fmt::format("{}/{}", own.substr(mount.size()), name);
}

Status CgroupHost::CheckUsable() const {
  if (version_ == 2) return CheckV2();
  for (const char* controller : kV1Controllers) {
    const std::string own = OwnFolder(controller);
    if (own.empty()) {
      return Unavailable("the {} controller of control groups is not mounted", controller);
    }
    if (!files_->Writable(own)) return Unavailable("{} cannot be written to", own);
  }
  return Status::Ok();
}

Status CgroupHost::CheckV2() const {
  const std::string own = OwnFolder("");
  const auto has = files_->Read(own + "/cgroup.controllers");
  if (!has.ok()) return has.status();
  const auto controllers = Split(*has, ' ');
  for (const char* needed : {"cpu", "memory", "pids", "cpuset"}) {
    if (std::ranges::find(controllers, needed) == controllers.end()) {
      return Unavailable("the daemon's control group {} was not given the {} controller", own,
                         needed);
    }
  }
  if (!files_->Writable(own) || !files_->Writable(own + "/cgroup.subtree_control")) {
    return Unavailable("{} cannot be written to", own);
  }
  // Only the root may have both processes and children with controllers; it alone has no cgroup.type.
  if (!files_->Exists(own + "/cgroup.type")) return Status::Ok();
  const auto members = files_->Read(own + "/cgroup.procs");
  if (!members.ok()) return members.status();
  for (const auto pid : Split(*members, '\n')) {
    if (pid == std::to_string(self_)) continue;
    return Unavailable("process {} is in the daemon's control group {}, which must be its own", pid,
                       own);
  }
  return Status::Ok();
}

Status CgroupHost::Prepare(const std::string& label) const {
  EK_RETURN_IF_ERROR(CheckUsable());
  const std::string base = CgroupBase(label);
  return version_ == 2 ? PrepareV2(base, label) : PrepareV1(base);
}

Status CgroupHost::PrepareV1(const std::string& base) const {
  for (const char* controller : kV1Controllers) {
    const std::string own = OwnFolder(controller);
    EK_RETURN_IF_ERROR(files_->MakeFolder(own + "/" + base));
    if (std::string_view(controller) != "cpuset") continue;
    for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
      const auto mine = files_->Read(fmt::format("{}/{}", own, file));
      if (!mine.ok()) return mine.status();
      EK_RETURN_IF_ERROR(files_->Write(fmt::format("{}/{}/{}", own, base, file), *mine));
    }
  }
  return Status::Ok();
}

Status CgroupHost::PrepareV2(const std::string& base, const std::string& label) const {
  const std::string own = OwnFolder("");
  const auto members = files_->Read(own + "/cgroup.procs");
  if (!members.ok()) return members.status();
  if (files_->Exists(own + "/cgroup.type") && !members->empty()) {
    const std::string aside = fmt::format("{}/{}{}", own, kAside, label);
    EK_RETURN_IF_ERROR(files_->MakeFolder(aside));
    EK_RETURN_IF_ERROR(files_->Write(aside + "/cgroup.procs", std::to_string(self_)));
  }
  const char* wanted = "+cpu +memory +pids +cpuset";
  EK_RETURN_IF_ERROR(files_->Write(own + "/cgroup.subtree_control", wanted));
  EK_RETURN_IF_ERROR(files_->MakeFolder(own + "/" + base));
  return files_->Write(fmt::format("{}/{}/cgroup.subtree_control", own, base), wanted);
}

HostCapacity CgroupHost::Capacity() const {
  HostCapacity host;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const int cpus = ::sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
  host.milli_cores = cpus * 1000;
  host.memory_bytes = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  // A limit of any group above binds too.
  const auto each_above = [this](const std::string& controller, const char* procs, auto look) {
    for (std::string up = OwnFolder(controller); files_->Exists(up + procs);
         up = up.substr(0, up.rfind('/'))) {
      look(up);
    }
  };
  const auto number = [this](const std::string& path) -> std::optional<int64_t> {
    const auto text = files_->Read(path);
    const auto value = text.ok() ? Number(*text) : std::nullopt;
    return value ? std::optional<int64_t>(static_cast<int64_t>(*value)) : std::nullopt;
  };
  each_above("memory", "/cgroup.procs", [&](const std::string& up) {
    const auto most = number(up + (version_ == 2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (most && *most > 0) host.memory_bytes = std::min(host.memory_bytes, *most);
  });
  each_above("cpu", "/cgroup.procs", [&](const std::string& up) {
    std::optional<int64_t> quota, period;
    if (version_ == 2) {
      const auto text = files_->Read(up + "/cpu.max");
      const auto parts = text.ok() ? Split(*text, ' ') : std::vector<std::string_view>();
      if (parts.size() == 2) {
        if (const auto value = Number(parts[0])) quota = static_cast<int64_t>(*value);
        if (const auto value = Number(parts[1])) period = static_cast<int64_t>(*value);
      }
    } else {
      quota = number(up + "/cpu.cfs_quota_us");
      period = number(up + "/cpu.cfs_period_us");
    }
    if (quota && period && *quota > 0 && *period > 0) {
      host.milli_cores = std::min(host.milli_cores, static_cast<int>(*quota * 1000 / *period));
    }
  });
  return host;
}

}  // namespace evenkeel
