// Which rungs of the ladder work here, and the runtime of the chosen one.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "containers/cgroup.h"
#include "containers/leftovers.h"
#include "containers/oci.h"
#include "containers/process.h"
#include "containers/runtime.h"
#include "containers/trial.h"
#include "core/format.h"
#include "core/log.h"
#include "core/replace_file.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRungFile = "/runtime";  // in the state folder

RungReport Works(Rung rung) { return {rung, true, {}, {}}; }
RungReport Fails(Rung rung, std::string why, std::string fix) {
  return {rung, false, std::move(why), std::move(fix)};
}

RungReport ProbeCgroup() {
  const auto host = CgroupHost::Detect();
  if (!host.ok()) {
    return Fails(Rung::kCgroup, host.status().message(),
                 "mount -t cgroup2 none /sys/fs/cgroup, as root");
  }
  if (const Status usable = host->CheckUsable(); !usable.ok()) {
    return Fails(Rung::kCgroup, usable.message(),
                 host->version() == 2 ? "systemd-run --scope -p Delegate=yes evenkeel serve"
                                      : "run the daemon as root, with the controllers cpu, cpuset, "
                                        "cpuacct, memory and pids mounted for writing");
  }
  return Works(Rung::kCgroup);
}

RungReport ProbeOci(const RungReport& cgroup, const std::string& libexec) {
  if (FindRunc().empty()) {
    return Fails(Rung::kOci, "there is no runc in PATH", "apt-get install runc");
  }
  const std::string init = libexec + "/evenkeel-init";
  if (::access(init.c_str(), X_OK) != 0) {
    return Fails(Rung::kOci, init + " is missing",
                 "build or install it: make build, or cmake --install build");
  }
  if (::geteuid() != 0) {
    return Fails(Rung::kOci, fmt::format("the daemon would run as user {}", ::geteuid()),
                 "run it as root: containers without root are not supported");
  }
  for (const char* needed : {"mnt", "pid", "ipc", "uts", "net"}) {
    if (!fs::exists(std::string("/proc/self/ns/") + needed)) {
      return Fails(Rung::kOci, fmt::format("the kernel has no {} namespaces", needed),
                   "use a kernel built with namespaces");
    }
  }
  if (::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
    return Fails(Rung::kOci, "the kernel has no seccomp filters",
                 "use a kernel built with CONFIG_SECCOMP_FILTER");
  }
  if (!cgroup.works) return Fails(Rung::kOci, "needs the rung cgroup: " + cgroup.why, cgroup.fix);
  return Works(Rung::kOci);
}

// A file below `devices` that an accelerator is reached through; empty: none. Whether an engine can use it is not known yet: that is asked later, by a
// process on the rung that is chosen now.
std::string DeviceNode(const std::string& devices) {
  std::error_code error;
  for (const char* folder : {"dri", "accel"}) {
    for (const auto& entry : fs::directory_iterator(devices + "/" + folder, error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("render") || name.starts_with("accel")) return entry.path().string();
    }
  }
  return {};
}

// Also for a lower rung: the daemon before may have run on a higher one.
void CleanUp(const RuntimeOptions& options, const std::string& label) {
  const Leftovers left = RemoveLeftovers(options.state + "/containers", label);
  if (left.groups + left.containers > 0) {
    LogInfo("removed what a daemon that was killed left: {} control groups, {} containers",
            left.groups, left.containers);
  }
  for (const std::string& kept : left.kept) LogWarning("left as it is: {}", kept);
}

Result<std::unique_ptr<Runtime>> Make(const RuntimeOptions& options, const std::string& label,
                                      Rung rung) {
  if (rung <= Rung::kProcess) return MakeProcessRuntime(rung);
  auto detected = CgroupHost::Detect();
  if (!detected.ok()) return detected.status();
  EK_RETURN_IF_ERROR(detected->Prepare(label).Annotate("runtime " + std::string(NameOf(rung))));
  auto host = std::make_shared<const CgroupHost>(std::move(*detected));
  if (rung == Rung::kCgroup) return MakeCgroupRuntime(std::move(host), label);
  return MakeOciRuntime(
      {FindRunc(), options.libexec + "/evenkeel-init", options.state + "/containers", label},
      std::move(host));
}

// The same, once it has started something.
Result<std::unique_ptr<Runtime>> MakeTried(const RuntimeOptions& options, const std::string& label,
                                           Rung rung) {
  auto runtime = Make(options, label, rung);
  if (!runtime.ok() || rung <= Rung::kProcess) return runtime;
  const auto host = CgroupHost::Detect();
  if (!host.ok()) return host.status();
  const WorkerShape small{std::min(500, host->Capacity().milli_cores), int64_t{64} << 20, {}};
  EK_RETURN_IF_ERROR(TryOut(**runtime, options.libexec, small));
  return runtime;
}

Result<std::unique_ptr<Runtime>> MakeHighest(const RuntimeOptions& options,
                                             const std::string& label, const AutoRungs& rungs) {
  if (!rungs.left_out.empty()) LogInfo("runtime: {}", rungs.left_out);
  for (const Rung rung : rungs.order) {
    auto runtime = MakeTried(options, label, rung);
    if (runtime.ok()) return runtime;
    LogWarning("runtime {} does not work here, a lower one is taken: {}", NameOf(rung),
               runtime.status().message());
  }
  return MakeProcessRuntime();
}

}  // namespace

std::string_view NameOf(Rung rung) {
  switch (rung) {
    case Rung::kNone: return "none";
    case Rung::kProcess: return "process";
    case Rung::kCgroup: return "cgroup";
    case Rung::kOci: return "oci";
  }
  return "?";
}

std::string_view DescriptionOf(Rung rung) {
  switch (rung) {
    case Rung::kNone: return "child processes without any isolation, for debuggers";
    case Rung::kProcess: return "processes with little inherited and no new privileges";
    case Rung::kCgroup: return "processes whose memory, cores and threads are limited";
    case Rung::kOci: return "containers without network, with a read-only root";
  }
  return "?";
}

std::vector<RungReport> ProbeRungs(const std::string& libexec) {
  const RungReport cgroup = ProbeCgroup();
  return {Works(Rung::kNone), Works(Rung::kProcess), cgroup, ProbeOci(cgroup, libexec)};
}

AutoRungs RungsForAuto(const std::vector<RungReport>& reports, const std::string& devices) {
  AutoRungs rungs;
  for (const RungReport& report : reports) {
    if (!report.works || report.rung == Rung::kNone) continue;
    const std::string device = report.rung == Rung::kOci ? DeviceNode(devices) : std::string();
    if (device.empty()) {
      rungs.order.insert(rungs.order.begin(), report.rung);
    } else {
      rungs.left_out =
          fmt::format("'oci' works, but containers are given no device, and there is {}", device);
    }
  }
  return rungs;
}

Result<std::unique_ptr<Runtime>> MakeRuntime(const RuntimeOptions& options) {
  const std::string label = LabelOf(options.state);
  const auto reports = ProbeRungs(options.libexec);
  if (options.choice == "auto") {
    CleanUp(options, label);
    return MakeHighest(options, label, RungsForAuto(reports));
  }
  for (const RungReport& report : reports) {
    if (options.choice != NameOf(report.rung)) continue;
    if (!report.works)
      return Unavailable("runtime {}: {}; to put it right: {}", options.choice, report.why,
                         report.fix);
    CleanUp(options, label);
    return Make(options, label, report.rung);
  }
  return InvalidArgument("runtime '{}': expected none, process, cgroup, oci or auto",
                         options.choice);
}

Status KeepRung(const std::string& state, Rung rung) {
  return ReplaceFile(state + kRungFile, std::string(NameOf(rung)) + "\n");
}

std::optional<Rung> KeptRung(const std::string& state) {
  std::ifstream file(state + kRungFile);
  std::string name;
  file >> name;
  for (const Rung rung : {Rung::kNone, Rung::kProcess, Rung::kCgroup, Rung::kOci}) {
    if (name == NameOf(rung)) return rung;
  }
  return std::nullopt;
}

}  // namespace evenkeel
