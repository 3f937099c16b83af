#include "containers/cgroup.h"

#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <set>

#include "containers/cgroup_text.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

std::string SharesOf(const Limits& limits) {
  return std::to_string(std::max(2, limits.weight() * 1024 / 1000));
}

// 100 is the weight of a group that nobody set: a worker of one core counts as much.
std::string WeightOf(const Limits& limits) {
  return std::to_string(std::clamp(limits.weight() / 10, 1, 10'000));
}

}  // namespace

Limits LimitsOf(const std::optional<WorkerShape>& shape, std::vector<int> cpus, bool hard_cap) {
  Limits limits;
  limits.cpus = std::move(cpus);
  if (!shape) return limits;
  limits.milli_cores = shape->milli_cores;
  limits.quota = hard_cap || !shape->whole_cores();
  limits.memory_bytes = shape->memory_bytes;
  return limits;
}

Limits LimitsFor(const Limits& before, const WorkerShape& shape, bool hard_cap) {
  Limits limits = LimitsOf(shape, before.cpus, hard_cap);
  limits.background = before.background;
  limits.pids = before.pids;
  return limits;
}

std::string CgroupBase(const std::string& label) { return "evenkeel-" + label; }

std::string Cgroup::File(const std::string& controller, const char* file) const {
  const std::string own = host_->OwnFolder(controller);
  return own.empty() ? std::string() : fmt::format("{}/{}/{}", own, name_, file);
}

Status Cgroup::Create(const Limits& limits) const {
  const CgroupFiles& files = host_->files();
  std::set<std::string> folders;
  if (host_->version() == 2) {
    folders.insert(host_->OwnFolder(""));
  } else {
    for (const char* controller : kV1Controllers) {
      const std::string own = host_->OwnFolder(controller);
      if (!own.empty()) folders.insert(own);
    }
  }
  Status status;
  for (const std::string& own : folders) {
    if (status.ok()) status = files.MakeFolder(own + "/" + name_);
  }
  if (status.ok()) status = host_->version() == 2 ? SetV2(limits) : SetV1(limits);
  if (!status.ok()) static_cast<void>(Remove(0));
  return status;
}

Status Cgroup::SetV1(const Limits& limits) const {
  const CgroupFiles& files = host_->files();
  // A new group has no processors and no memory nodes, and no process can enter such a group.
  const std::string parent = host_->OwnFolder("cpuset") + "/" + name_.substr(0, name_.find('/'));
  const auto mems = files.Read(parent + "/cpuset.mems");
  if (!mems.ok()) return mems.status();
  EK_RETURN_IF_ERROR(files.Write(File("cpuset", "cpuset.mems"), *mems));
  const auto all = files.Read(parent + "/cpuset.cpus");
  if (!all.ok()) return all.status();
  EK_RETURN_IF_ERROR(
      files.Write(File("cpuset", "cpuset.cpus"),
                  limits.cpus.empty() ? *all : fmt::format("{}", fmt::join(limits.cpus, ","))));
  EK_RETURN_IF_ERROR(files.Write(File("cpu", "cpu.shares"), SharesOf(limits)));
  if (limits.quota) {
    EK_RETURN_IF_ERROR(
        files.Write(File("cpu", "cpu.cfs_period_us"), std::to_string(kQuotaPeriodUs)));
    EK_RETURN_IF_ERROR(
        files.Write(File("cpu", "cpu.cfs_quota_us"), std::to_string(limits.quota_us())));
  }
  if (limits.memory_bytes > 0) EK_RETURN_IF_ERROR(SetMemory(limits.memory_bytes));
  return files.Write(File("pids", "pids.max"), std::to_string(limits.pids));
}

Status Cgroup::SetMemory(int64_t bytes) const {
  const CgroupFiles& files = host_->files();
  const std::string text = std::to_string(bytes);
  if (host_->version() == 2) {
    EK_RETURN_IF_ERROR(files.Write(File("", "memory.max"), text));
    const std::string swap = File("", "memory.swap.max");
    if (files.Exists(swap)) EK_RETURN_IF_ERROR(files.Write(swap, "0"));
    return files.Write(File("", "memory.oom.group"), "1");
  }
  const std::string plain = File("memory", "memory.limit_in_bytes");
  // Kernels without accounting of swap lack the file: there the group is kept from swapping by preference only.
  const std::string with_swap = File("memory", "memory.memsw.limit_in_bytes");
  if (!files.Exists(with_swap)) {
    EK_RETURN_IF_ERROR(files.Write(plain, text));
    return files.Write(File("memory", "memory.swappiness"), "0");
  }
  // With swap it is never less than without: the larger goes first.
  const auto before = files.Read(plain);
  const auto present = before.ok() ? Number(*before) : std::nullopt;
  const bool grows = present && *present < static_cast<uint64_t>(bytes);
  EK_RETURN_IF_ERROR(files.Write(grows ? with_swap : plain, text));
  return files.Write(grows ? plain : with_swap, text);
}

Status Cgroup::Adjust(const Limits& limits) const {
  const CgroupFiles& files = host_->files();
  if (limits.memory_bytes > 0) {
    // Version 2 would kill for it at once.
    const auto used = Usage().memory_bytes;
    if (used && *used > limits.memory_bytes)
      return Conflict("it uses {} of memory, and cannot be held to {}", FormatBytes(*used),
                      FormatBytes(limits.memory_bytes));
    EK_RETURN_IF_ERROR(SetMemory(limits.memory_bytes));
  }
  if (host_->version() == 2) {
    EK_RETURN_IF_ERROR(files.Write(File("", "cpu.weight"), WeightOf(limits)));
    const std::string quota = limits.quota ? std::to_string(limits.quota_us()) : "max";
    return files.Write(File("", "cpu.max"), fmt::format("{} {}", quota, kQuotaPeriodUs));
  }
  EK_RETURN_IF_ERROR(files.Write(File("cpu", "cpu.shares"), SharesOf(limits)));
  if (limits.quota)
    EK_RETURN_IF_ERROR(
        files.Write(File("cpu", "cpu.cfs_period_us"), std::to_string(kQuotaPeriodUs)));
  return files.Write(File("cpu", "cpu.cfs_quota_us"),
                     limits.quota ? std::to_string(limits.quota_us()) : "-1");
}

Status Cgroup::SetV2(const Limits& limits) const {
  const CgroupFiles& files = host_->files();
  const auto set = [&](const char* file, const std::string& text) {
    return files.Write(File("", file), text);
  };
  if (!limits.cpus.empty()) {
    EK_RETURN_IF_ERROR(set("cpuset.cpus", fmt::format("{}", fmt::join(limits.cpus, ","))));
  }
  EK_RETURN_IF_ERROR(set("cpu.weight", WeightOf(limits)));
  if (limits.quota) {
    EK_RETURN_IF_ERROR(set("cpu.max", fmt::format("{} {}", limits.quota_us(), kQuotaPeriodUs)));
  }
  if (limits.memory_bytes > 0) EK_RETURN_IF_ERROR(SetMemory(limits.memory_bytes));
  return set("pids.max", std::to_string(limits.pids));
}

std::vector<std::string> Cgroup::JoinFiles() const {
  if (host_->version() == 2) return {File("", "cgroup.procs")};
  std::set<std::string> paths;
  for (const char* controller : kV1Controllers) {
    const std::string path = File(controller, "cgroup.procs");
    if (!path.empty()) paths.insert(path);
  }
  return {paths.begin(), paths.end()};
}

WorkerUsage Cgroup::Usage() const {
  WorkerUsage usage;
  const CgroupFiles& files = host_->files();
  const bool v2 = host_->version() == 2;
  const auto text = [&](const char* controller, const char* file) {
    auto read = files.Read(File(v2 ? "" : controller, file));
    return read.ok() ? std::move(*read) : std::string();
  };
  const std::string stat = text("cpu", "cpu.stat");
  usage.periods = CountIn(stat, "nr_periods");
  usage.throttled_periods = CountIn(stat, "nr_throttled");
  const auto scaled = [](std::optional<uint64_t> count, double unit) {
    return count ? std::optional<double>(static_cast<double>(*count) * unit) : std::nullopt;
  };
  const auto bytes = [](std::optional<uint64_t> count) {
    return count ? std::optional<int64_t>(static_cast<int64_t>(*count)) : std::nullopt;
  };
  if (v2) {
    usage.cpu_s = scaled(CountIn(stat, "usage_usec"), 1e-6);
    usage.throttled_s = scaled(CountIn(stat, "throttled_usec"), 1e-6);
    usage.memory_bytes = bytes(Number(text("", "memory.current")));
    usage.memory_peak_bytes = bytes(Number(text("", "memory.peak")));
    usage.oom_kills = CountIn(text("", "memory.events"), "oom_kill");
  } else {
    usage.cpu_s = scaled(Number(text("cpuacct", "cpuacct.usage")), 1e-9);
    usage.throttled_s = scaled(CountIn(stat, "throttled_time"), 1e-9);
    usage.memory_bytes = bytes(Number(text("memory", "memory.usage_in_bytes")));
    usage.memory_peak_bytes = bytes(Number(text("memory", "memory.max_usage_in_bytes")));
    usage.oom_kills = CountIn(text("memory", "memory.oom_control"), "oom_kill");
  }
  return usage;
}

std::vector<pid_t> Cgroup::Processes() const {
  std::set<pid_t> pids;
  for (const std::string& own : host_->OwnFolders()) {
    const auto text = host_->files().Read(fmt::format("{}/{}/cgroup.procs", own, name_));
    if (!text.ok()) continue;
    for (const std::string_view line : Split(*text, '\n')) {
      if (const auto pid = Number(line); pid && *pid > 1) pids.insert(static_cast<pid_t>(*pid));
    }
  }
  return {pids.begin(), pids.end()};
}

Status Cgroup::Remove(int patience_ms) const {
  Status status;
  for (int waited = 0;; ++waited) {
    for (const pid_t pid : Processes()) ::kill(pid, SIGKILL);
    status = Status::Ok();
    for (const std::string& own : host_->OwnFolders()) {
      Status removed = host_->files().RemoveFolder(own + "/" + name_);
      if (!removed.ok()) status = std::move(removed);
    }
    if (status.ok() || waited >= patience_ms) return status;
    ::poll(nullptr, 0, 1);
  }
}

}  // namespace evenkeel
