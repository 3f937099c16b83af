// The rungs none, process and cgroup: the worker is a child of the daemon.
#include "containers/process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <mutex>
#include <system_error>

#include "containers/cgroup_text.h"
#include "containers/exit_text.h"
#include "containers/leftovers.h"
#include "containers/log_relay.h"
#include "containers/spawner.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr int kPatienceMs = 2000;  // for processes that were killed to leave their group

// A worker's control group, if it has one.
struct Confinement {
  std::optional<Cgroup> group;
  Limits limits;
  bool hard_cap = false;
  HostCapacity host;
};

double SecondsOf(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// "VmHWM:	  123 kB" in bytes.
std::optional<int64_t> StatusBytes(std::string_view text, std::string_view key) {
  for (const auto line : Split(text, '\n')) {
    if (!line.starts_with(key)) continue;
    const auto words = Split(line.substr(key.size()), ' ');
    for (const auto word : words) {
      const auto kib = Number(word.substr(std::min(word.find_first_not_of('\t'), word.size())));
      if (kib) return static_cast<int64_t>(*kib) * 1024;
    }
  }
  return std::nullopt;
}

// What /proc tells of a process that is not in a group of its own.
WorkerUsage UsageOf(pid_t pid) {
  WorkerUsage usage;
  const CgroupFiles& files = CgroupFiles::System();
  if (const auto status = files.Read(fmt::format("/proc/{}/status", pid)); status.ok()) {
    usage.memory_bytes = StatusBytes(*status, "VmRSS:");
    usage.memory_peak_bytes = StatusBytes(*status, "VmHWM:");
  }
  if (const auto stat = files.Read(fmt::format("/proc/{}/stat", pid)); stat.ok()) {
    // The second field is the name, which may hold anything; user and system time are the 12th and 13th after it.
    const size_t after_name = stat->rfind(')');
    if (after_name != std::string::npos) {
      const auto fields = Split(std::string_view(*stat).substr(after_name + 1), ' ');
      const auto user = fields.size() > 12 ? Number(fields[11]) : std::nullopt;
      const auto system = fields.size() > 12 ? Number(fields[12]) : std::nullopt;
      if (user && system) {
        usage.cpu_s =
            static_cast<double>(*user + *system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
      }
    }
  }
  return usage;
}

class Process final : public WorkerProcess {
 public:
  Process(pid_t pid, int pidfd, Confinement confinement)
      : pid_(pid), pidfd_(pidfd), confinement_(std::move(confinement)) {}
  ~Process() override {
    Kill();
    const std::lock_guard lock(mutex_);
    if (!reaped_) Reap(0);
    if (pidfd_ >= 0) ::close(pidfd_);
  }

  pid_t pid() const override { return pid_; }
  int pidfd() const override { return pidfd_; }

  void Kill() override {
    // Under the lock and only before the reaping: afterwards the number may belong to somebody else.
    const std::lock_guard lock(mutex_);
    if (!reaped_) ::kill(pid_, SIGKILL);
  }

  bool Ended(std::string* how) override {
    const std::lock_guard lock(mutex_);
    if (!reaped_) Reap(WNOHANG);
    if (reaped_ && how != nullptr) *how = how_;
    return reaped_;
  }

  WorkerUsage Usage() const override {
    const std::lock_guard lock(mutex_);
    if (reaped_) return usage_;
    return confinement_.group ? confinement_.group->Usage() : UsageOf(pid_);
  }

  Status Reshape(const WorkerShape& shape) override {
    const std::lock_guard lock(mutex_);
    if (!confinement_.group) return Status::Ok();
    if (reaped_) return Unavailable("the worker has ended");
    EK_RETURN_IF_ERROR(CheckFits(shape, confinement_.host));
    const Limits limits = LimitsFor(confinement_.limits, shape, confinement_.hard_cap);
    EK_RETURN_IF_ERROR(confinement_.group->Adjust(limits));
    confinement_.limits = limits;
    return Status::Ok();
  }

 private:
  // REQUIRES: mutex_ held, not reaped.
  void Reap(int flags) {
    int status = 0;
    rusage used{};
    pid_t got = 0;
    do {
      got = ::wait4(pid_, &status, flags, &used);
    } while (got < 0 && errno == EINTR);
    if (got == 0) return;
    reaped_ = true;
    how_ = got < 0 ? "already reaped" : DescribeExit(status);
    if (confinement_.group) {
      LeaveGroup();
    } else if (got > 0) {
      usage_.cpu_s = SecondsOf(used.ru_utime) + SecondsOf(used.ru_stime);
      usage_.memory_peak_bytes = int64_t{used.ru_maxrss} * 1024;
      usage_.memory_bytes = 0;
    }
  }

  void LeaveGroup() {
    usage_ = confinement_.group->Usage();
    usage_.memory_bytes = 0;
    if (usage_.oom_kills.value_or(0) > 0) {
      how_ += OutOfMemoryText(confinement_.limits.memory_bytes);
    }
    if (const Status removed = confinement_.group->Remove(kPatienceMs); !removed.ok()) {
      LogWarning("a worker's control group is left until the next start: {}", removed.message());
    }
  }

  const pid_t pid_;
  const int pidfd_;
  mutable std::mutex mutex_;  // guards what follows, and the pid's meaning
  Confinement confinement_;
  bool reaped_ = false;
  std::string how_;
  WorkerUsage usage_;
};

class ProcessRuntime final : public Runtime {
 public:
  explicit ProcessRuntime(Rung rung) : rung_(rung) {}
  ProcessRuntime(std::shared_ptr<const CgroupHost> host, std::string label)
      : rung_(Rung::kCgroup),
        host_(std::move(host)),
        label_(std::move(label)),
        capacity_(host_->Capacity()) {}

  ~ProcessRuntime() override { EndAll(); }

  Rung rung() const override { return rung_; }
  Result<std::unique_ptr<WorkerProcess>> Start(const WorkerSpec& spec) override;
  void EndAll() override {
    if (rung_ == Rung::kCgroup) RemoveLeftovers({}, label_);
  }

 private:
  // Makes the worker's group and opens what it joins by. Without a host: nothing.
  Status Confine(const WorkerSpec& spec, Confinement* confinement, std::vector<int>* join);

  const Rung rung_;
  const std::shared_ptr<const CgroupHost> host_;
  const std::string label_;
  const HostCapacity capacity_;
  std::atomic<uint64_t> count_{0};
  LogRelay relay_;
  Spawner spawner_;
};

Status ProcessRuntime::Confine(const WorkerSpec& spec, Confinement* confinement,
                               std::vector<int>* join) {
  if (rung_ != Rung::kCgroup) return Status::Ok();
  if (spec.shape) EK_RETURN_IF_ERROR(CheckFits(*spec.shape, capacity_));
  Limits limits = LimitsOf(spec.shape, spec.cpus, spec.hard_cap);
  limits.background = spec.background;
  const Cgroup group(*host_, fmt::format("{}/w{}", CgroupBase(label_), count_.fetch_add(1)));
  EK_RETURN_IF_ERROR(group.Create(limits));
  confinement->group = group;
  confinement->limits = limits;
  confinement->hard_cap = spec.hard_cap;
  confinement->host = capacity_;
  for (const std::string& path : group.JoinFiles()) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return Unavailable("{}: {}", path, std::generic_category().message(errno));
    join->push_back(fd);
  }
  return Status::Ok();
}

Result<std::unique_ptr<WorkerProcess>> ProcessRuntime::Start(const WorkerSpec& spec) {
  std::array<int, 2> log{};
  if (::pipe2(log.data(), O_CLOEXEC) != 0) {
    return Unavailable("pipe: {}", std::generic_category().message(errno));
  }
  Confinement confinement;
  SpawnOptions how;
  how.plain = rung_ == Rung::kNone;
  const Status confined = Confine(spec, &confinement, &how.join);
  auto started = confined.ok() ? spawner_.Start(spec, log[1], how) : confined;
  ::close(log[1]);
  for (const int fd : how.join) ::close(fd);
  if (!started.ok()) {
    ::close(log[0]);
    if (confinement.group) static_cast<void>(confinement.group->Remove(0));
    return started.status();
  }
  relay_.Add(log[0], spec.log_name);
  return std::unique_ptr<WorkerProcess>(
      std::make_unique<Process>(started->pid, started->pidfd, std::move(confinement)));
}

}  // namespace

std::unique_ptr<Runtime> MakeProcessRuntime(Rung rung) {
  return std::make_unique<ProcessRuntime>(rung);
}

std::unique_ptr<Runtime> MakeCgroupRuntime(std::shared_ptr<const CgroupHost> host,
                                           std::string label) {
  return std::make_unique<ProcessRuntime>(std::move(host), std::move(label));
}

}  // namespace evenkeel
