#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <fstream>
#include <mutex>
#include <thread>

#include "containers/log_relay.h"
#include "containers/runtime.h"

namespace evenkeel {
namespace {

WorkerSpec Shell(const std::string& script) {
  WorkerSpec spec;
  spec.executable = "/bin/sh";
  spec.args = {"-c", script};
  spec.log_name = "test";
  return spec;
}

// Waits for the end through the pidfd, as the daemon does.
std::string HowItEnded(WorkerProcess& process) {
  pollfd fd{process.pidfd(), POLLIN, 0};
  EXPECT_EQ(::poll(&fd, 1, 20'000), 1) << "the process did not end";
  std::string how;
  EXPECT_TRUE(process.Ended(&how));
  return how;
}

// What a shell script writes to an inherited pipe.
std::string OutputOf(Runtime& runtime, const std::string& script, WorkerSpec* base = nullptr) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  WorkerSpec spec = Shell("{ " + script + "; } >&" + std::to_string(ends[1]));
  if (base != nullptr) {
    spec.env = base->env;
    spec.cpus = base->cpus;
  }
  spec.inherit = {ends[1]};
  auto process = runtime.Start(spec);
  ::close(ends[1]);
  EXPECT_TRUE(process.ok()) << process.status().ToString();
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  ::close(ends[0]);
  return text;
}

bool Exists(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  // A zombie still has its line: only its parent's reaping removes it.
  return std::getline(stat, line) && line.find(") Z ") == std::string::npos;
}

TEST(ProcessRuntimeTest, ReportsExitCodeAndSignal) {
  const auto runtime = MakeProcessRuntime();
  auto exits = runtime->Start(Shell("exit 3"));
  ASSERT_TRUE(exits.ok()) << exits.status().ToString();
  EXPECT_EQ(HowItEnded(**exits), "exit 3");
  auto sleeps = runtime->Start(Shell("sleep 100"));
  ASSERT_TRUE(sleeps.ok());
  std::string how;
  EXPECT_FALSE((*sleeps)->Ended(&how));
  (*sleeps)->Kill();
  EXPECT_EQ(HowItEnded(**sleeps), "signal 9 (Killed)");
  (*sleeps)->Kill();  // of an ended process: nothing
  EXPECT_TRUE((*sleeps)->Ended(nullptr));
}

TEST(ProcessRuntimeTest, DestructorKillsAndReaps) {
  const auto runtime = MakeProcessRuntime();
  auto process = runtime->Start(Shell("exec sleep 100"));
  ASSERT_TRUE(process.ok());
  const pid_t pid = (*process)->pid();
  EXPECT_TRUE(Exists(pid));
  process->reset();
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), -1) << "left a zombie";
  EXPECT_FALSE(Exists(pid));
}

TEST(ProcessRuntimeTest, RefusesWhatCannotRun) {
  const auto runtime = MakeProcessRuntime();
  WorkerSpec spec = Shell("");
  spec.executable = "/nonexistent/worker";
  auto missing = runtime->Start(spec);
  EXPECT_EQ(missing.status().code(), Code::kUnavailable);
  EXPECT_EQ(missing.status().message(), "starting /nonexistent/worker: No such file or directory");
  spec.executable = "sh";
  EXPECT_EQ(runtime->Start(spec).status().code(), Code::kInvalidArgument);
  spec = Shell("");
  spec.inherit = {1};
  EXPECT_EQ(runtime->Start(spec).status().code(), Code::kInvalidArgument);
  spec = Shell("");
  spec.inherit = {100'000};  // not open
  EXPECT_EQ(runtime->Start(spec).status().code(), Code::kUnavailable);
}

TEST(ProcessRuntimeTest, PassesOnlyTheNamedDescriptors) {
  const auto runtime = MakeProcessRuntime();
  const int leak = ::open("/dev/zero", O_RDONLY);  // not close-on-exec, on purpose
  ASSERT_GE(leak, 0);
  const std::string listed = OutputOf(*runtime, "ls -l /proc/self/fd");
  ::close(leak);
  EXPECT_EQ(listed.find("/dev/zero"), std::string::npos) << listed;
  EXPECT_NE(listed.find("/dev/null"), std::string::npos) << "stdin\n" << listed;
}

TEST(ProcessRuntimeTest, GivesASmallEnvironmentAndASessionOfItsOwn) {
  const auto runtime = MakeProcessRuntime();
  ::setenv("EVENKEEL_TEST_SECRET", "token", 1);
  WorkerSpec base;
  base.env = {"EXTRA=yes"};
  const std::string env = OutputOf(*runtime, "env", &base);
  ::unsetenv("EVENKEEL_TEST_SECRET");
  EXPECT_EQ(env.find("token"), std::string::npos);
  EXPECT_NE(env.find("EXTRA=yes"), std::string::npos);
  // Sixth field of stat is the session, the first the pid.
  EXPECT_EQ(OutputOf(*runtime, "read -r p x y z w s rest </proc/$$/stat; [ $p = $s ] && echo own"),
            "own\n");
}

TEST(ProcessRuntimeTest, PinsToTheGivenProcessors) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int last = -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &allowed)) last = cpu;
  }
  const auto runtime = MakeProcessRuntime();
  WorkerSpec base;
  base.cpus = {last};
  const std::string line = OutputOf(*runtime, "grep Cpus_allowed_list /proc/self/status", &base);
  EXPECT_EQ(line, "Cpus_allowed_list:\t" + std::to_string(last) + "\n");
}

TEST(ProcessRuntimeTest, IgnoredSignalsAreNotInherited) {
  const auto runtime = MakeProcessRuntime();
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  const std::string line = OutputOf(*runtime, "grep SigIgn /proc/self/status");
  std::signal(SIGPIPE, before);
  ASSERT_TRUE(line.starts_with("SigIgn:\t")) << line;
  const unsigned long long ignored = std::stoull(line.substr(8), nullptr, 16);
  EXPECT_EQ(ignored >> (SIGPIPE - 1) & 1, 0u) << line;
}

TEST(ProcessRuntimeTest, WorkerSurvivesTheThreadThatStartedIt) {
  const auto runtime = MakeProcessRuntime();
  std::unique_ptr<WorkerProcess> process;
  std::thread([&] { process = std::move(runtime->Start(Shell("exec sleep 100"))).value(); }).join();
  pollfd fd{process->pidfd(), POLLIN, 0};
  EXPECT_EQ(::poll(&fd, 1, 100), 0) << "the parent-death signal came with the thread's end";
}

TEST(ProcessRuntimeTest, WorkerDiesWithTheDaemon) {
  // A daemon of its own, killed without a chance to clean up.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const auto runtime = MakeProcessRuntime();
    auto process = runtime->Start(Shell("exec sleep 100"));
    const pid_t pid = process.ok() ? (*process)->pid() : -1;
    static_cast<void>(!::write(ends[1], &pid, sizeof pid));
    ::pause();
    ::_exit(0);
  }
  pid_t worker = -1;
  ASSERT_EQ(::read(ends[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  ASSERT_GT(worker, 0);
  ASSERT_TRUE(Exists(worker));
  ::kill(daemon, SIGKILL);
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
  for (int i = 0; i < 1000 && Exists(worker); ++i) ::poll(nullptr, 0, 10);
  EXPECT_FALSE(Exists(worker));
  ::close(ends[0]);
  ::close(ends[1]);
}

// Collects lines and lets a test wait for them.
struct Lines {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> all;

  LogRelay::Sink Sink() {
    return [this](std::string_view name, std::string_view line) {
      const std::lock_guard lock(mutex);
      all.push_back(std::string(name) + ": " + std::string(line));
      changed.notify_all();
    };
  }
  bool WaitFor(size_t count) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), [&] { return all.size() >= count; });
  }
};

TEST(LogRelayTest, SplitsLinesAndHidesUnprintableBytes) {
  Lines lines;
  LogRelay relay(lines.Sink());
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  relay.Add(ends[0], "m#0");
  const std::string text = "one\ntw\x1bo\nunfinished";
  ASSERT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ASSERT_TRUE(lines.WaitFor(2));
  ::close(ends[1]);
  ASSERT_TRUE(lines.WaitFor(3));
  EXPECT_EQ(lines.all, (std::vector<std::string>{"m#0: one", "m#0: tw?o", "m#0: unfinished"}));
}

TEST(LogRelayTest, LimitsAFloodAndSaysSo) {
  Lines lines;
  LogRelay relay(lines.Sink());
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  relay.Add(ends[0], "m#0");
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "x\n";
  ASSERT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::close(ends[1]);
  ASSERT_TRUE(lines.WaitFor(101));
  EXPECT_EQ(lines.all[99], "m#0: x");
  EXPECT_EQ(lines.all[100], "m#0: 900 more lines were dropped");
}

}  // namespace
}  // namespace evenkeel
