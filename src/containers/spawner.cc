#include "containers/spawner.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <future>
#include <system_error>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

// What a worker sees of the daemon's environment. The sanitizers' options are for test builds.
constexpr std::array kPassedOn = {"PATH",         "LANG",          "LD_LIBRARY_PATH",
                                  "TMPDIR",       "ASAN_OPTIONS",  "LSAN_OPTIONS",
                                  "TSAN_OPTIONS", "UBSAN_OPTIONS", "TBB_ENABLE_SANITIZERS"};

// Everything the child needs, laid out before it exists.
struct ChildPlan {
  const char* executable = nullptr;
  std::vector<char*> argv, envp;
  std::vector<int> keep;      // ascending: what to inherit, and error_fd
  std::vector<int> renumber;  // element i is moved to 3 + i, after which `keep` holds
  std::vector<int> join;      // cgroup.procs files
  bool plain = false;
  bool background = false;
  const cpu_set_t* cpus = nullptr;
  int null_fd = -1, log_fd = -1;
  int error_fd = -1;  // a pipe that exec closes: errno goes there when there is no exec
  pid_t parent = -1;
  unsigned highest_fd = 0;  // for kernels without close_range
};

// Closes [first, last]. Only system calls.
void CloseRange(unsigned first, unsigned last, unsigned highest) {
  if (first > last) return;
  if (::syscall(SYS_close_range, first, last, 0) == 0) return;
  for (unsigned fd = first; fd <= std::min(last, highest); ++fd) ::close(static_cast<int>(fd));
}

// A worker is the better victim when memory runs out: it is started again, the daemon is not. Allowed to fail.
void PreferredByOomKiller() {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  static_cast<void>(!::write(fd, "500", 3));
  ::close(fd);
}

// Niceness counts within a session only where the kernel groups sessions, so the session is made nice too. Allowed to fail.
void GiveWay() {
  ::setpriority(PRIO_PROCESS, 0, 19);
  const int fd = ::open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  static_cast<void>(!::write(fd, "19", 2));
  ::close(fd);
}

// Runs in the child between vfork and exec. Async-signal-safe calls only, and no write to the memory that it shares.
[[noreturn]] void RunChild(const ChildPlan& plan) {
  const auto fail = [&plan] {
    const int error = errno;
    static_cast<void>(!::write(plan.error_fd, &error, sizeof error));
    ::_exit(127);
  };
  ::setsid();
  // Set first, then check: a daemon that died in between leaves another parent.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail();
  if (::getppid() != plan.parent) ::_exit(127);
  // Before exec, so that every page and instruction of the program is counted in its groups.
  for (const int fd : plan.join) {
    if (::write(fd, "0", 1) != 1) fail();
  }
  if (!plan.plain) ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (plan.cpus != nullptr && ::sched_setaffinity(0, sizeof(cpu_set_t), plan.cpus) != 0) fail();
  if (!plan.plain) PreferredByOomKiller();
  if (plan.background) GiveWay();
  if (::dup2(plan.null_fd, 0) < 0 || ::dup2(plan.log_fd, 1) < 0 || ::dup2(plan.log_fd, 2) < 0) {
    fail();
  }
  int place = 3;
  for (const int fd : plan.renumber) {
    if (::dup2(fd, place++) < 0) fail();
  }
  unsigned next = 3;
  for (const int fd : plan.keep) {
    CloseRange(next, static_cast<unsigned>(fd) - 1, plan.highest_fd);
    if (fd != plan.error_fd && ::fcntl(fd, F_SETFD, 0) != 0) fail();
    next = static_cast<unsigned>(fd) + 1;
  }
  CloseRange(next, ~0U, plan.highest_fd);
  for (int signal = 1; signal < 32; ++signal) {
    // Handlers vanish at exec, but what is ignored stays ignored.
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(plan.executable, plan.argv.data(), plan.envp.data());
  fail();
  ::_exit(127);
}

// Kept apart so that no local of a caller lives across the vfork.
__attribute__((noinline)) pid_t ForkChild(const ChildPlan& plan) {
  const pid_t pid = ::vfork();
  if (pid == 0) RunChild(plan);
  return pid;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

Status Check(const WorkerSpec& spec) {
  if (spec.executable.empty() || spec.executable[0] != '/') {
    return InvalidArgument("worker program '{}': expected an absolute path", spec.executable);
  }
  for (const int fd : spec.inherit) {
    if (fd < 3) return InvalidArgument("descriptor {} cannot be passed on to a worker", fd);
  }
  for (const int cpu : spec.cpus) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) return InvalidArgument("there is no processor {}", cpu);
  }
  return Status::Ok();
}

std::vector<std::string> EnvironmentOf(const WorkerSpec& spec, bool plain) {
  std::vector<std::string> env;
  if (plain) {
    for (char** entry = environ; *entry != nullptr; ++entry) env.emplace_back(*entry);
  } else {
    for (const char* name : kPassedOn) {
      if (const char* value = std::getenv(name)) env.push_back(std::string(name) + "=" + value);
    }
  }
  env.insert(env.end(), spec.env.begin(), spec.env.end());
  return env;
}

// Copies of descriptors that stand clear of the numbers that the child gives out. Closed by the destructor.
class Copies {
 public:
  ~Copies() {
    for (const int fd : fds_) ::close(fd);
  }
  Status Add(const std::vector<int>& fds) {
    for (const int fd : fds) {
      const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3 + static_cast<int>(fds.size()) + 1);
      if (copy < 0) {
        return Unavailable("descriptor {} cannot be passed on: {}", fd,
                           std::generic_category().message(errno));
      }
      fds_.push_back(copy);
    }
    return Status::Ok();
  }
  const std::vector<int>& fds() const { return fds_; }

 private:
  std::vector<int> fds_;
};

Result<Spawner::Started> StartHere(const WorkerSpec& spec, int log_fd,
                                   const SpawnOptions& options) {
  EK_RETURN_IF_ERROR(Check(spec));
  std::vector<std::string> args = {spec.executable};
  args.insert(args.end(), spec.args.begin(), spec.args.end());
  std::vector<std::string> env = EnvironmentOf(spec, options.plain);
  Copies copies;
  if (options.renumber) EK_RETURN_IF_ERROR(copies.Add(spec.inherit));
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const int cpu : spec.cpus) CPU_SET(static_cast<size_t>(cpu), &cpus);

  ChildPlan plan;
  plan.executable = spec.executable.c_str();
  plan.argv = Pointers(args);
  plan.envp = Pointers(env);
  plan.null_fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (plan.null_fd < 0) return Unavailable("/dev/null: {}", std::generic_category().message(errno));
  std::array<int, 2> errors{};
  if (::pipe2(errors.data(), O_CLOEXEC) != 0) {
    const int error = errno;
    ::close(plan.null_fd);
    return Unavailable("pipe: {}", std::generic_category().message(error));
  }
  // Clear of the numbers that are given out below.
  plan.error_fd = ::fcntl(errors[1], F_DUPFD_CLOEXEC, 3 + static_cast<int>(spec.inherit.size()));
  ::close(errors[1]);
  plan.keep = spec.inherit;
  if (options.renumber) {
    plan.renumber = copies.fds();
    for (size_t i = 0; i < plan.keep.size(); ++i) plan.keep[i] = 3 + static_cast<int>(i);
  }
  plan.join = options.join;
  plan.plain = options.plain;
  plan.background = spec.background;
  plan.keep.push_back(plan.error_fd);
  std::ranges::sort(plan.keep);
  plan.keep.erase(std::unique(plan.keep.begin(), plan.keep.end()), plan.keep.end());
  if (!spec.cpus.empty()) plan.cpus = &cpus;
  plan.log_fd = log_fd;
  plan.parent = ::getpid();
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  plan.highest_fd = static_cast<unsigned>(std::min<rlim_t>(files.rlim_cur, 1U << 20));

  // A handler that ran in the child would run on the daemon's memory.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ForkChild(plan);
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(plan.null_fd);
  ::close(plan.error_fd);
  int child_error = 0;
  ssize_t got = 0;
  if (pid > 0) {
    do {
      got = ::read(errors[0], &child_error, sizeof child_error);
    } while (got < 0 && errno == EINTR);
  }
  ::close(errors[0]);
  if (pid < 0) return Unavailable("vfork: {}", std::generic_category().message(fork_error));
  if (got > 0) {
    ::waitpid(pid, nullptr, 0);
    return Unavailable("starting {}: {}", spec.executable,
                       std::generic_category().message(child_error));
  }
  return Spawner::Started{pid, static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

}  // namespace

Spawner::Spawner() : thread_([this] { Loop(); }) {}

Spawner::~Spawner() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Spawner::Loop() {
  ::prctl(PR_SET_NAME, "ek-spawner");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const auto task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

Result<Spawner::Started> Spawner::Start(const WorkerSpec& spec, int log_fd,
                                        const SpawnOptions& options) {
  // The caller waits, so the task may refer to what it has on its stack.
  std::promise<Result<Started>> result;
  auto future = result.get_future();
  {
    const std::lock_guard lock(mutex_);
    tasks_.emplace_back([&] { result.set_value(StartHere(spec, log_fd, options)); });
  }
  changed_.notify_one();
  return future.get();
}

}  // namespace evenkeel
