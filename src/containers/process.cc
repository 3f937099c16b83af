#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <system_error>

#include "containers/log_relay.h"
#include "containers/runtime.h"
#include "containers/spawner.h"
#include "core/format.h"

namespace evenkeel {
namespace {

class Process final : public WorkerProcess {
 public:
  Process(pid_t pid, int pidfd) : pid_(pid), pidfd_(pidfd) {}
  ~Process() override {
    Kill();
    int status = 0;
    const std::lock_guard lock(mutex_);
    if (!reaped_) {
      while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
      }
    }
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
    if (!reaped_) {
      int status = 0;
      const pid_t got = ::waitpid(pid_, &status, WNOHANG);
      if (got == 0 || (got < 0 && errno == EINTR)) return false;
      reaped_ = true;
      how_ = got < 0 ? "already reaped" : Describe(status);
    }
    if (how != nullptr) *how = how_;
    return true;
  }

 private:
  static std::string Describe(int status) {
    if (WIFEXITED(status)) return fmt::format("exit {}", WEXITSTATUS(status));
    const int signal = WTERMSIG(status);
    const char* text = ::sigdescr_np(signal);
    return fmt::format("signal {} ({})", signal, text != nullptr ? text : "unknown");
  }

  const pid_t pid_;
  const int pidfd_;
  std::mutex mutex_;  // guards the two below, and the pid's meaning
  bool reaped_ = false;
  std::string how_;
};

class ProcessRuntime final : public Runtime {
 public:
  Result<std::unique_ptr<WorkerProcess>> Start(const WorkerSpec& spec) override {
    std::array<int, 2> log{};
    if (::pipe2(log.data(), O_CLOEXEC) != 0) {
      return Unavailable("pipe: {}", std::generic_category().message(errno));
    }
    auto started = spawner_.Start(spec, log[1]);
    ::close(log[1]);
    if (!started.ok()) {
      ::close(log[0]);
      return started.status();
    }
    relay_.Add(log[0], spec.log_name);
    return std::unique_ptr<WorkerProcess>(std::make_unique<Process>(started->pid, started->pidfd));
  }

 private:
  LogRelay relay_;
  Spawner spawner_;
};

}  // namespace

std::unique_ptr<Runtime> MakeProcessRuntime() { return std::make_unique<ProcessRuntime>(); }

}  // namespace evenkeel
