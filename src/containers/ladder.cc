// Which rungs of the ladder work here, and the runtime of the chosen one.
#include <sys/prctl.h>
#include <unistd.h>

#include <filesystem>

#include "containers/cgroup.h"
#include "containers/leftovers.h"
#include "containers/oci.h"
#include "containers/process.h"
#include "containers/runtime.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

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

Result<Rung> Choose(const RuntimeOptions& options) {
  const auto reports = ProbeRungs(options.libexec);
  const RungReport* best = nullptr;
  for (const RungReport& report : reports) {
    if (report.works) best = &report;
    if (options.choice != NameOf(report.rung)) continue;
    if (report.works) return report.rung;
    return Unavailable("runtime {}: {}; to put it right: {}", options.choice, report.why,
                       report.fix);
  }
  if (options.choice == "auto" && best != nullptr) return best->rung;
  return InvalidArgument("runtime '{}': expected none, process, cgroup, oci or auto",
                         options.choice);
}

void CleanUp(const RuntimeOptions& options, const std::string& label) {
  const Leftovers left = RemoveLeftovers(options.state + "/containers", label);
  if (left.groups + left.containers > 0) {
    LogInfo("removed what a daemon that was killed left: {} control groups, {} containers",
            left.groups, left.containers);
  }
  for (const std::string& kept : left.kept) LogWarning("left as it is: {}", kept);
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

std::vector<RungReport> ProbeRungs(const std::string& libexec) {
  const RungReport cgroup = ProbeCgroup();
  return {Works(Rung::kNone), Works(Rung::kProcess), cgroup, ProbeOci(cgroup, libexec)};
}

Result<std::unique_ptr<Runtime>> MakeRuntime(const RuntimeOptions& options) {
  const auto rung = Choose(options);
  if (!rung.ok()) return rung.status();
  const std::string label = LabelOf(options.state);
  // Also on a lower rung: the daemon before may have run on a higher one.
  CleanUp(options, label);
  if (*rung <= Rung::kProcess) return MakeProcessRuntime(*rung);
  auto host = CgroupHost::Detect();
  if (!host.ok()) return host.status();
  EK_RETURN_IF_ERROR(host->Prepare(label).Annotate("runtime " + std::string(NameOf(*rung))));
  auto shared = std::make_shared<const CgroupHost>(std::move(*host));
  if (*rung == Rung::kCgroup) return MakeCgroupRuntime(std::move(shared), label);
  return MakeOciRuntime(
      {FindRunc(), options.libexec + "/evenkeel-init", options.state + "/containers", label},
      std::move(shared));
}

}  // namespace evenkeel
