// The rungs cgroup and oci on the real kernel, seen from inside by containers_probe. Needs root, control groups and runc; where one is
// missing each test says so and is skipped.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "containers/leftovers.h"
#include "containers/oci.h"
#include "containers/runtime.h"
#include "containers/trial.h"
#include "core/format.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

const std::string kLibexec = EVENKEEL_BINARY_DIR "/libexec/evenkeel";
const std::string kProbe = EVENKEEL_BINARY_DIR "/containers_probe";

struct Answered {
  std::string line;  // what the probe said; empty if it died
  std::string how;
  WorkerUsage usage;
};

class ConfinementTest : public testing::TestWithParam<Rung> {
 protected:
  void SetUp() override {
    for (const RungReport& report : ProbeRungs(kLibexec)) {
      if (report.rung == GetParam() && !report.works) {
        GTEST_SKIP() << "the rung " << NameOf(report.rung) << " does not work here: " << report.why
                     << "; " << report.fix;
      }
    }
    state_ = fs::temp_directory_path() / fmt::format("evenkeel-ct-{}", ::getpid());
    fs::create_directories(state_);
    auto made = MakeRuntime({std::string(NameOf(GetParam())), state_.string(), kLibexec});
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    runtime_ = std::move(*made);
  }
  void TearDown() override {
    runtime_.reset();
    if (!IsSkipped()) RemoveLeftovers((state_ / "containers").string(), Label());
    std::error_code error;
    fs::remove_all(state_, error);
  }

  std::string Label() const { return LabelOf(state_.string()); }
  bool Oci() const { return GetParam() == Rung::kOci; }

  // Starts the probe; its line comes to the descriptor in `*out`, which the caller closes.
  Result<std::unique_ptr<WorkerProcess>> StartProbe(const std::string& command,
                                                    const std::string& argument, WorkerSpec spec,
                                                    int* out) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    spec.executable = kProbe;
    spec.args = {std::to_string(ends[1]), command, argument};
    spec.inherit.push_back(ends[1]);
    spec.log_name = "probe/1#0";
    auto process = runtime_->Start(spec);
    ::close(ends[1]);
    *out = ends[0];
    return process;
  }

  Answered Ask(const std::string& command, const std::string& argument = "", WorkerSpec spec = {}) {
    int out = -1;
    auto process = StartProbe(command, argument, std::move(spec), &out);
    EXPECT_TRUE(process.ok()) << process.status().ToString();
    Answered answered;
    if (process.ok()) {
      answered.line = ReadLine(out);
      answered.how = HowItEnded(**process);
      answered.usage = (*process)->Usage();
    }
    ::close(out);
    return answered;
  }

  static std::string ReadLine(int fd) {
    std::string text;
    char c = 0;
    while (::read(fd, &c, 1) == 1 && c != '\n') text += c;
    return text;
  }
  static std::string HowItEnded(WorkerProcess& process) {
    pollfd fd{process.pidfd(), POLLIN, 0};
    EXPECT_EQ(::poll(&fd, 1, 30'000), 1) << "the worker did not end";
    std::string how;
    EXPECT_TRUE(process.Ended(&how));
    return how;
  }
  static WorkerSpec Shaped(const char* shape) {
    WorkerSpec spec;
    spec.shape = ParseWorkerShape(shape).value();
    return spec;
  }
  // Everything of this test's daemon that is visible outside.
  std::vector<std::string> Traces() const {
    std::vector<std::string> traces;
    for (const std::string& group : GroupsNamed(CgroupBase(Label()))) {
      std::error_code error;
      for (const auto& entry : fs::directory_iterator(group, error)) {
        if (entry.is_directory(error)) traces.push_back(entry.path().string());
      }
    }
    std::error_code error;
    for (const auto& entry : fs::recursive_directory_iterator(state_ / "containers", error)) {
      if (entry.path().filename() != "runc") traces.push_back(entry.path().string());
    }
    std::ifstream mounts("/proc/self/mounts");
    for (std::string line; std::getline(mounts, line);) {
      if (line.find(state_.string()) != std::string::npos) traces.push_back(line);
    }
    return traces;
  }

  fs::path state_;
  std::unique_ptr<Runtime> runtime_;
};

INSTANTIATE_TEST_SUITE_P(Rungs, ConfinementTest, testing::Values(Rung::kCgroup, Rung::kOci),
                         [](const auto& rung) { return std::string(NameOf(rung.param)); });

TEST_P(ConfinementTest, ATrialTellsWhetherSomethingStarts) {
  const WorkerShape shape = ParseWorkerShape("0.5c/64MiB").value();
  const Status works = TryOut(*runtime_, kLibexec, shape);
  EXPECT_TRUE(works.ok()) << works.ToString();
  EXPECT_THAT(TryOut(*runtime_, state_.string(), shape).message(), HasSubstr("evenkeel-init"));
  const auto init = state_ / "evenkeel-init";  // one that ends with 7
  std::ofstream(init) << "#!/bin/sh\nexit 7\n";
  fs::permissions(init, fs::perms::owner_all);
  if (!Oci()) {  // in a container there is no shell
    EXPECT_THAT(TryOut(*runtime_, state_.string(), shape).message(), HasSubstr("exit 7"));
  }
  EXPECT_THAT(Traces(), testing::IsEmpty());
}

TEST_P(ConfinementTest, ATrialThatDoesNotEndIsKilled) {
  if (Oci()) GTEST_SKIP() << "in a container there is no shell";
  const auto init = state_ / "evenkeel-init";
  std::ofstream(init) << "#!/bin/sh\nwhile :; do :; done\n";
  fs::permissions(init, fs::perms::owner_all);
  const Status late = TryOut(*runtime_, state_.string(), ParseWorkerShape("0.5c/64MiB").value(),
                             std::chrono::milliseconds(200));
  EXPECT_THAT(late.message(), HasSubstr("did not end within 200 ms"));
  EXPECT_THAT(Traces(), testing::IsEmpty());
}

TEST(KeptRungTest, IsWhatWasKept) {
  const auto state = fs::temp_directory_path() / fmt::format("evenkeel-kept-{}", ::getpid());
  fs::create_directories(state);
  EXPECT_EQ(KeptRung(state.string()), std::nullopt);
  for (const Rung rung : {Rung::kNone, Rung::kProcess, Rung::kCgroup, Rung::kOci}) {
    EXPECT_TRUE(KeepRung(state.string(), rung).ok());
    EXPECT_EQ(KeptRung(state.string()), rung);
  }
  std::ofstream(state / "runtime") << "something else\n";
  EXPECT_EQ(KeptRung(state.string()), std::nullopt);
  fs::remove_all(state);
}

TEST(AutoRungsTest, HighestFirstAndNoContainersBesideADevice) {
  const std::vector<RungReport> all = {{Rung::kNone, true, {}, {}},
                                       {Rung::kProcess, true, {}, {}},
                                       {Rung::kCgroup, true, {}, {}},
                                       {Rung::kOci, true, {}, {}}};
  const auto devices = fs::temp_directory_path() / fmt::format("evenkeel-dev-{}", ::getpid());
  const AutoRungs rungs = RungsForAuto(all, devices.string());
  EXPECT_THAT(rungs.order, testing::ElementsAre(Rung::kOci, Rung::kCgroup, Rung::kProcess));
  EXPECT_EQ(rungs.left_out, "");
  fs::create_directories(devices / "dri");
  std::ofstream(devices / "dri" / "card0") << "";  // a picture's, not for computing
  EXPECT_EQ(RungsForAuto(all, devices.string()).left_out, "");
  std::ofstream(devices / "dri" / "renderD128") << "";
  const AutoRungs beside = RungsForAuto(all, devices.string());
  EXPECT_THAT(beside.order, testing::ElementsAre(Rung::kCgroup, Rung::kProcess));
  EXPECT_THAT(beside.left_out, HasSubstr("dri/renderD128"));
  auto without = all;
  without[3].works = without[2].works = false;
  EXPECT_THAT(RungsForAuto(without, devices.string()).order, testing::ElementsAre(Rung::kProcess));
  fs::remove_all(devices);
}

TEST_P(ConfinementTest, TellsExitCodesAndSignals) {
  EXPECT_EQ(Ask("exit", "3").how, "exit 3");
  // The first process of a container is immune to its own SIGABRT; abort() then ends by an instruction that is a fault.
  EXPECT_THAT(Ask("abort").how, StartsWith(Oci() ? "signal 11" : "signal 6"));
  int out = -1;
  auto process = StartProbe("sleep", "", {}, &out);
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(ReadLine(out), "ready");
  EXPECT_GT((*process)->pid(), 1);
  EXPECT_FALSE((*process)->Ended(nullptr));
  (*process)->Kill();
  EXPECT_EQ(HowItEnded(**process), "signal 9 (Killed)");
  ::close(out);
  EXPECT_THAT(Traces(), testing::IsEmpty());
}

// Work is the probe's own count of turns. What a whole core does in a second comes from runs before and after, by the core time that
// they got, so that whatever else wants the core cancels out; the larger one, since a busy sibling core or a lower clock slows a run.
TEST_P(ConfinementTest, HalfACoreDoesHalfTheWork) {
  const auto burn = [this](const char* shape, const char* ms) {
    WorkerSpec spec = Shaped(shape);
    spec.cpus = {0};
    return Ask("burn", ms, spec);
  };
  const auto turns_a_second = [&] {
    const Answered whole = burn("1c/64MiB", "400");
    EXPECT_FALSE(whole.line.empty()) << whole.how;
    return std::atof(whole.line.c_str()) / whole.usage.cpu_s.value();
  };
  // On a machine whose speed changes meanwhile, turns say nothing of shares: then it is tried again, and last only core time counts.
  Answered cut;
  double share = 0;
  bool even = false;
  for (int tries = 0; tries < 3 && !even; ++tries) {
    const double before = turns_a_second();
    cut = burn("0.5c/64MiB", "1000");
    ASSERT_FALSE(cut.line.empty()) << cut.how;
    const double after = turns_a_second();
    even = std::max(before, after) < 1.15 * std::min(before, after);
    share = std::atof(cut.line.c_str()) / std::max(before, after);
  }
  if (even) {
    EXPECT_LE(share, 0.75) << "of a whole core's work in the same second";
  }
  EXPECT_LE(cut.usage.cpu_s.value(), 0.75) << "0.5 of a second, some for the start";
  // On a busy machine it may not even get its half: then nothing holds it back.
  if (cut.usage.cpu_s.value() < 0.45) return;
  if (even) {
    EXPECT_GE(share, 0.3);
  }
  EXPECT_GE(cut.usage.throttled_periods.value(), 1u);
  EXPECT_GT(cut.usage.throttled_s.value(), 0.0);
  // 10 ms periods: a hundred in this second, not ten.
  EXPECT_GE(cut.usage.periods.value(), 60u);
}

TEST_P(ConfinementTest, AWholeCoreIsNotThrottledUnlessCapped) {
  const Answered free = Ask("burn2", "300", Shaped("1c/64MiB"));
  EXPECT_EQ(free.usage.throttled_periods.value_or(0), 0u);
  WorkerSpec capped = Shaped("1c/64MiB");
  capped.hard_cap = true;
  const Answered cut = Ask("burn2", "600", capped);
  EXPECT_LE(cut.usage.cpu_s.value(), 0.95) << "two threads for 0.6 s on one core's time";
}

TEST_P(ConfinementTest, RunsOnItsProcessorsOnly) {
  WorkerSpec spec = Shaped("1c/64MiB");
  spec.cpus = {0};
  EXPECT_EQ(Ask("status", "Cpus_allowed_list", spec).line, "0");
}

TEST_P(ConfinementTest, MemoryPastTheShapeIsAnEndOfItsOwn) {
  const Answered within = Ask("eat", "32", Shaped("1c/64MiB"));
  EXPECT_EQ(within.line, "ate 32 MiB");
  EXPECT_GE(within.usage.memory_peak_bytes.value(), 32 << 20);
  EXPECT_EQ(within.usage.oom_kills, 0u);
  const Answered beyond = Ask("eat", "200", Shaped("1c/64MiB"));
  EXPECT_EQ(beyond.line, "");
  EXPECT_EQ(beyond.how, "signal 9 (Killed): out of memory, 64MiB allowed");
  EXPECT_GE(beyond.usage.oom_kills.value(), 1u);
  EXPECT_LE(beyond.usage.memory_peak_bytes.value(), 64 << 20);
}

// Its shape is changed while it runs: what would have been too much fits, and what fitted is too much.
TEST_P(ConfinementTest, AnotherShapeHoldsFromThenOn) {
  for (const bool grows : {true, false}) {
    const int go = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    WorkerSpec spec = Shaped(grows ? "1c/64MiB" : "1c/512MiB");
    spec.inherit = {go};
    int out = -1;
    auto process = StartProbe("eat_later", fmt::format("{}:128", go), spec, &out);
    ASSERT_TRUE(process.ok()) << process.status().ToString();
    const auto to = [&](const char* shape) {
      return (*process)->Reshape(*ParseWorkerShape(shape));
    };
    // A container that is being made has no groups of its own yet.
    Status status = to(grows ? "2c/512MiB" : "0.5c/64MiB");
    for (int i = 0; i < 3000 && !status.ok(); ++i) {
      ::poll(nullptr, 0, 10);
      status = to(grows ? "2c/512MiB" : "0.5c/64MiB");
    }
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(to("4096c/512MiB").code(), Code::kInvalidArgument);
    ASSERT_EQ(::eventfd_write(go, 1), 0);
    EXPECT_EQ(ReadLine(out), grows ? "ate 128 MiB" : "");
    EXPECT_EQ(HowItEnded(**process),
              grows ? "exit 0" : "signal 9 (Killed): out of memory, 64MiB allowed");
    EXPECT_EQ(to("1c/64MiB").code(), Code::kUnavailable) << "it has ended";
    ::close(out);
    ::close(go);
  }
}

TEST_P(ConfinementTest, SharedMemoryCountsForWhoTouchesItFirst) {
  const int memory = ::memfd_create("test", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(memory, 64 << 20), 0);
  WorkerSpec spec = Shaped("1c/256MiB");
  spec.inherit = {memory};
  const Answered touched = Ask("touch", fmt::format("{}:40", memory), spec);
  EXPECT_EQ(touched.line, "ok");
  EXPECT_GE(touched.usage.memory_peak_bytes.value(), 40 << 20) << "by the worker: the worker's";
  const Answered again = Ask("touch", fmt::format("{}:40", memory), spec);
  EXPECT_EQ(again.line, "ok");
  EXPECT_LT(again.usage.memory_peak_bytes.value(), 40 << 20) << "was there: not the worker's";
  ::close(memory);
}

TEST_P(ConfinementTest, LeavesTheFlagsOfDescriptorsAsTheyWere) {
  // An eventfd's O_NONBLOCK is common to both processes: were it cleared on the way, the daemon's reads would block.
  WorkerSpec spec;
  const int counter = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  spec.inherit = {counter};
  EXPECT_EQ(Ask("exit", "0", spec).how, "exit 0");
  EXPECT_NE(::fcntl(counter, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(counter, F_GETFD) & FD_CLOEXEC, 0);
  ::close(counter);
}

TEST_P(ConfinementTest, ThreadsAreLimited) {
  EXPECT_THAT(Ask("threads", "2000", Shaped("1c/256MiB")).line, StartsWith("refused after 5"));
}

TEST_P(ConfinementTest, RefusesShapesThatTheHostCannotHold) {
  int out = -1;
  const auto large = StartProbe("exit", "0", Shaped("4096c/64MiB"), &out);
  ::close(out);
  EXPECT_EQ(large.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(large.status().message(), HasSubstr("this host has"));
  const auto heavy = StartProbe("exit", "0", Shaped("1c/900000GiB"), &out);
  ::close(out);
  EXPECT_THAT(heavy.status().message(), HasSubstr("of memory for workers"));
  EXPECT_THAT(Traces(), testing::IsEmpty());
}

TEST_P(ConfinementTest, RefusesAMissingProgram) {
  WorkerSpec spec;
  spec.executable = "/nonexistent/worker";
  const auto missing = runtime_->Start(spec);
  EXPECT_EQ(missing.status().code(), Code::kUnavailable);
  EXPECT_EQ(missing.status().message(), "starting /nonexistent/worker: No such file or directory");
  EXPECT_THAT(Traces(), testing::IsEmpty());
}

// Twenty, or as many as the long test asks for.
TEST_P(ConfinementTest, StartsLeaveNothing) {
  const char* asked = std::getenv("EVENKEEL_CONTAINER_STARTS");
  const int starts = asked != nullptr ? std::atoi(asked) : 20;
  const auto descriptors = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  Ask("exit", "0");  // what is made once
  const auto before = descriptors();
  for (int i = 0; i < starts; ++i) ASSERT_EQ(Ask("exit", "0").how, "exit 0");
  // The log relay closes a pipe when it has read its end: soon, not at once.
  for (int i = 0; i < 2000 && descriptors() > before; ++i) ::poll(nullptr, 0, 10);
  EXPECT_LE(descriptors(), before);
  EXPECT_THAT(Traces(), testing::IsEmpty());
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child was left unreaped";
}

TEST_P(ConfinementTest, KilledWhileItIsMade) {
  for (int ms = 0; ms < 60; ms += 6) {
    int out = -1;
    auto process = StartProbe("sleep", "", {}, &out);
    ASSERT_TRUE(process.ok());
    ::poll(nullptr, 0, ms);
    process->reset();
    ::close(out);
    EXPECT_THAT(Traces(), testing::IsEmpty()) << "killed after " << ms << " ms";
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child was left unreaped";
}

TEST_P(ConfinementTest, EndAllEndsThem) {
  int out = -1;
  auto process = StartProbe("sleep", "", {}, &out);
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(ReadLine(out), "ready");
  ::close(out);
  runtime_->EndAll();
  EXPECT_THAT(Traces(), testing::IsEmpty());
}

TEST_P(ConfinementTest, NothingOutlivesADaemonThatIsKilled) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const fs::path other = state_ / "other";
  fs::create_directories(other);
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    state_ = other;
    auto made = MakeRuntime({std::string(NameOf(GetParam())), other.string(), kLibexec});
    if (made.ok()) runtime_.release();  // the parent's: its threads are not here
    runtime_ = std::move(made).value();
    int out = -1;
    auto first = StartProbe("sleep", "", Shaped("1c/64MiB"), &out);
    auto second = StartProbe("sleep", "", Shaped("0.5c/64MiB"), &out);
    ReadLine(out);
    const pid_t pids[] = {first.value()->pid(), second.value()->pid()};
    static_cast<void>(!::write(ends[1], pids, sizeof pids));
    ::pause();
    ::_exit(0);
  }
  pid_t workers[2] = {};
  ASSERT_EQ(::read(ends[0], workers, sizeof workers), static_cast<ssize_t>(sizeof workers));
  ::close(ends[0]);
  ::close(ends[1]);
  ::kill(daemon, SIGKILL);
  ASSERT_EQ(::waitpid(daemon, nullptr, 0), daemon);
  const auto alive = [](pid_t pid) {
    std::ifstream stat(fmt::format("/proc/{}/stat", pid));
    std::string line;
    return std::getline(stat, line) && line.find(") Z ") == std::string::npos;
  };
  for (int i = 0; i < 1000 && (alive(workers[0]) || alive(workers[1])); ++i) ::poll(nullptr, 0, 10);
  EXPECT_FALSE(alive(workers[0]));
  EXPECT_FALSE(alive(workers[1]));
  // Its successor on the same state folder clears the rest; another daemon's is not touched.
  int out = -1;
  auto mine = StartProbe("sleep", "", {}, &out);
  EXPECT_EQ(ReadLine(out), "ready");
  ::close(out);
  const std::string label = LabelOf(other.string());
  EXPECT_FALSE(GroupsNamed(CgroupBase(label)).empty());
  const Leftovers left = RemoveLeftovers((other / "containers").string(), label);
  EXPECT_GT(left.groups, 0);
  EXPECT_EQ(left.containers, Oci() ? 2 : 0);
  EXPECT_THAT(left.kept, testing::IsEmpty());
  EXPECT_TRUE(GroupsNamed(CgroupBase(label)).empty());
  EXPECT_FALSE((*mine)->Ended(nullptr)) << "a worker of another daemon was killed";
}

// What only the container has.
class ContainerTest : public ConfinementTest {};
INSTANTIATE_TEST_SUITE_P(Oci, ContainerTest, testing::Values(Rung::kOci),
                         [](const auto& rung) { return std::string(NameOf(rung.param)); });

TEST_P(ContainerTest, HasNoNetworkAndCannotMakeOne) {
  EXPECT_EQ(Ask("interfaces").line, "lo ");
  EXPECT_EQ(Ask("socket").line, "Operation not permitted");
}

TEST_P(ContainerTest, SeesOnlyItselfAndItsFiles) {
  EXPECT_EQ(Ask("pid").line, "1");
  EXPECT_EQ(Ask("read", "/etc/passwd").line, "No such file or directory");
  EXPECT_EQ(Ask("read", "/bin/sh").line, "No such file or directory");
  EXPECT_EQ(Ask("read", state_.string()).line, "No such file or directory");
}

TEST_P(ContainerTest, WritesOnlyWhereItMay) {
  const fs::path models = state_ / "models";
  const fs::path cache = state_ / "cache";
  fs::create_directories(models);
  fs::create_directories(cache);
  std::ofstream(models / "m") << "1";
  WorkerSpec spec;
  spec.readable = {models.string()};
  spec.writable = {cache.string()};
  EXPECT_EQ(Ask("write", "/x", spec).line, "Read-only file system");
  EXPECT_EQ(Ask("write", (models / "x").string(), spec).line, "Read-only file system");
  EXPECT_EQ(Ask("read", (models / "m").string(), spec).line, "ok");
  EXPECT_EQ(Ask("write", (cache / "x").string(), spec).line, "ok");
  EXPECT_TRUE(fs::exists(cache / "x"));
  EXPECT_EQ(Ask("write", "/tmp/x", spec).line, "ok");
  EXPECT_EQ(Ask("write", "/proc/sys/kernel/hostname", spec).line, "Read-only file system");
  // While another container starts, the kernel says that the program runs, before it says that the place is read-only.
  const std::string refusal = Ask("write", "/evenkeel-init", spec).line;
  EXPECT_TRUE(refusal == "Read-only file system" || refusal == "Text file busy") << refusal;
}

TEST_P(ContainerTest, HasNoCapabilityAndGetsNone) {
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(Ask("status", set).line, "0000000000000000") << set;
  }
  EXPECT_EQ(Ask("status", "NoNewPrivs").line, "1");
  EXPECT_EQ(Ask("status", "Seccomp").line, "2");
}

TEST_P(ContainerTest, FilesOfAnotherUserAreReadByOneCapabilityAndNoOther) {
  const fs::path models = state_ / "models", cache = state_ / "cache";
  fs::create_directories(models / "in");
  fs::create_directories(cache);
  std::ofstream(models / "in" / "m") << "1";
  WorkerSpec spec;
  spec.readable = {models.string()};
  spec.writable = {cache.string()};
  EXPECT_EQ(Ask("status", "CapEff", spec).line, "0000000000000000");
  const auto is_needed = [&] {
    EXPECT_EQ(Ask("read", (models / "in" / "m").string(), spec).line, "ok");
    EXPECT_EQ(Ask("write", (cache / "x").string(), spec).line, "ok");
    for (const char* set : {"CapPrm", "CapEff", "CapBnd"})
      EXPECT_EQ(Ask("status", set, spec).line, "0000000000000002") << set;
    for (const char* set : {"CapInh", "CapAmb"})
      EXPECT_EQ(Ask("status", set, spec).line, "0000000000000000") << set;
    EXPECT_EQ(Ask("write", (models / "x").string(), spec).line, "Read-only file system");
  };
  // A file that its owner keeps to himself.
  ASSERT_EQ(::chown((models / "in" / "m").c_str(), 12345, 12345), 0);
  fs::permissions(models / "in" / "m", fs::perms::owner_read);
  is_needed();
  fs::permissions(models / "in" / "m", fs::perms::others_read, fs::perm_options::add);
  EXPECT_EQ(Ask("status", "CapEff", spec).line, "0000000000000000") << "all may read it";
  // A cache that others may look into, not write to.
  ASSERT_EQ(::chown(cache.c_str(), 12345, 12345), 0);
  fs::permissions(cache, fs::perms(0755));
  is_needed();
}

TEST_P(ContainerTest, SystemCallsThatEnginesDoNotNeedAreRefused) {
  for (const char* call :
       {"mount", "ptrace", "unshare", "clone_newuser", "keyctl", "bpf", "socket"}) {
    EXPECT_EQ(Ask(call).line, "Operation not permitted") << call;
  }
  EXPECT_EQ(Ask("clone3").line, "Function not implemented") << "the C library then uses clone";
}

TEST_P(ContainerTest, RuncKnowsItWhileItRuns) {
  int out = -1;
  auto process = StartProbe("sleep", "", Shaped("0.5c/64MiB"), &out);
  EXPECT_EQ(ReadLine(out), "ready");
  ::close(out);
  const std::string command =
      fmt::format("{} --root {}/containers/runc list", FindRunc(), state_.string());
  FILE* listing = ::popen(command.c_str(), "r");
  std::string text(4096, '\0');
  text.resize(::fread(text.data(), 1, text.size(), listing));
  ::pclose(listing);
  EXPECT_THAT(text, HasSubstr(fmt::format("ek-{}-probe-1-0-0", Label())));
  EXPECT_THAT(text, HasSubstr("running"));
}

TEST_P(ContainerTest, RefusesPathsThatAreNotThere) {
  WorkerSpec spec;
  spec.executable = kProbe;
  spec.readable = {"/nonexistent/model"};
  EXPECT_EQ(runtime_->Start(spec).status().message(),
            "a worker needs /nonexistent/model: No such file or directory");
  spec.readable = {"relative"};
  EXPECT_EQ(runtime_->Start(spec).status().code(), Code::kInvalidArgument);
  spec.readable = {};
  spec.writable = {kProbe};
  EXPECT_THAT(runtime_->Start(spec).status().message(), HasSubstr("no folder"));
}

TEST_P(ContainerTest, ARefusalOfRuncIsTheWorkersEnd) {
  // A program that calls itself runc and refuses.
  const fs::path fake = state_ / "runc-that-refuses";
  std::ofstream(fake)
      << "#!/bin/sh\necho 'level=error msg=\"no room in the inn\"' >\"$4\"\nexit 1\n";
  fs::permissions(fake, fs::perms::owner_all);
  auto host = CgroupHost::Detect();
  ASSERT_TRUE(host.ok());
  auto refusing = MakeOciRuntime(
      {fake.string(), kLibexec + "/evenkeel-init", (state_ / "containers").string(), Label()},
      std::make_shared<const CgroupHost>(std::move(*host)));
  ASSERT_TRUE(refusing.ok());
  WorkerSpec spec;
  spec.executable = kProbe;
  spec.args = {"1", "exit", "0"};
  auto process = (*refusing)->Start(spec);
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  const std::string how = HowItEnded(**process);
  EXPECT_THAT(how, StartsWith("the container was not made: runc: exit 1: "));
  EXPECT_THAT(how, HasSubstr("no room in the inn"));
  EXPECT_EQ((*process)->pid(), 0);
  process->reset();
  refusing->reset();
  EXPECT_THAT(Traces(), testing::IsEmpty());
}

}  // namespace
}  // namespace evenkeel
