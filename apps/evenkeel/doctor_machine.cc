// The checks of `evenkeel doctor` that are about the machine.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "containers/node_cores.h"
#include "core/format.h"
#include "doctor_checks.h"
#include "figures.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
constexpr long kCgroup2Magic = 0x63677270;
constexpr double kGiB = 1024.0 * 1024 * 1024;

Check Pass(std::string name, std::string finding) {
  return {std::move(name), Verdict::kPass, std::move(finding), {}};
}
Check Warn(std::string name, std::string finding, std::string fix) {
  return {std::move(name), Verdict::kWarn, std::move(finding), std::move(fix)};
}
Check Fail(std::string name, std::string finding, std::string fix) {
  return {std::move(name), Verdict::kFail, std::move(finding), std::move(fix)};
}

std::string FirstLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

bool HasCgroup2() {
  struct statfs facts {};
  return ::statfs("/sys/fs/cgroup", &facts) == 0 && facts.f_type == kCgroup2Magic;
}

// This process's control group folder for `controller`; in version 2 all controllers share one.
fs::path CgroupFolder(const std::string& controller) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string below = line.substr(second + 1);
    const fs::path root = HasCgroup2() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controller;
    if (!HasCgroup2() && controllers.find("," + controller + ",") == std::string::npos) continue;
    // Inside a container the path may be the host's: then the root shown here is the own group.
    const fs::path own = root / below.erase(0, below.find_first_not_of('/'));
    return fs::exists(own) ? own : root;
  }
  return "/sys/fs/cgroup";
}

std::optional<double> MemoryLimit() {
  const std::string text = HasCgroup2()
                               ? FirstLine(CgroupFolder("memory") / "memory.max")
                               : FirstLine(CgroupFolder("memory") / "memory.limit_in_bytes");
  const double bytes = std::atof(text.c_str());
  // "max", or the huge page-aligned number that version 1 has for it.
  if (bytes <= 0 || bytes > 1e18) return std::nullopt;
  return bytes;
}

double AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::string unit;
  double kib = 0;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

Check Kernel() {
  utsname facts{};
  ::uname(&facts);
  const std::string finding = fmt::format("{} {} {}", facts.sysname, facts.release, facts.machine);
  // Asked, not read from the release: what is missing there may have been added, or be forbidden.
  if (::syscall(SYS_epoll_pwait2, -1, nullptr, 0, nullptr, nullptr, 0) < 0 && errno == ENOSYS) {
    return Fail("kernel", finding + ": epoll_pwait2 is missing",
                "use Linux 5.11 or newer, and a sandbox that lets epoll_pwait2 through");
  }
  return Pass("kernel", finding);
}

Check SharedMemory() {
  const int fd = ::memfd_create("evenkeel-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const bool works = fd >= 0 && ::ftruncate(fd, 4096) == 0 &&
                     ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;
  const std::string error = std::strerror(errno);
  if (fd >= 0) ::close(fd);
  if (works) return Pass("shared memory", "memfd with seals works");
  return Fail("shared memory", "memfd with seals: " + error,
              "allow memfd_create in the sandbox that this runs in");
}

Check Cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const int usable = ::sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;
  std::string finding =
      fmt::format("{} of {} cores usable", usable, ::sysconf(_SC_NPROCESSORS_ONLN));
  const auto quota = OwnCoreQuota();
  if (quota) finding += fmt::format(", control group allows {:.2g} cores of time", *quota);
  if (quota && *quota < usable) {
    return Warn(
        "cores", finding,
        fmt::format(
            "the server gives its models {} at once; raise the quota if they should have more",
            std::max(1, static_cast<int>(std::ceil(*quota)))));
  }
  if (usable < 2)
    return Warn("cores", finding, "give it two cores: daemon and worker share one now");
  return Pass("cores", finding);
}

Check Memory() {
  const double available = AvailableMemory();
  const auto limit = MemoryLimit();
  std::string finding = HumanBytes(available) + " available";
  if (limit) finding += ", control group allows " + HumanBytes(*limit);
  const double least = limit ? std::min(available, *limit) : available;
  if (least < kGiB / 4)
    return Fail("memory", finding, "free memory: an engine and a small model need about 256 MiB");
  if (least < kGiB)
    return Warn("memory", finding, "load small models only, or give it more memory");
  return Pass("memory", finding);
}

Check Cgroups() {
  if (HasCgroup2()) {
    return Pass("cgroup", "version 2, " + CgroupFolder("cpu").string() +
                              "; limits of workers are untested on a real version 2, tested on a "
                              "pretended one");
  }
  if (fs::exists("/sys/fs/cgroup/cpu")) return Pass("cgroup", "version 1");
  return Warn("cgroup", "not mounted",
              "mount -t cgroup2 none /sys/fs/cgroup (workers cannot be limited without)");
}

Check Devices() {
  std::vector<std::string> found;
  std::error_code error;
  for (const char* folder : {"/dev/dri", "/dev/accel", "/dev"}) {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename().string();
      const bool gpu =
          name.starts_with("renderD") || name.starts_with("accel") ||
          (name.starts_with("nvidia") &&
           name.find_first_not_of("0123456789", 6) == std::string::npos && name.size() > 6);
      if (gpu && !entry.is_directory(error)) found.push_back(entry.path().string());
    }
  }
  if (found.empty()) return Pass("devices", "CPU");
  return Pass("devices",
              fmt::format("CPU; also {} (see the check 'accelerators')", fmt::join(found, " ")));
}

Check ClockState() {
  const std::string source =
      FirstLine("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  const std::time_t now = std::time(nullptr);
  std::string finding = source.empty() ? "source unknown" : "source " + source;
  constexpr std::time_t kYear2024 = 1'704'067'200;
  if (now < kYear2024)
    return Fail("clock", "the wall clock is before 2024", "set the time: timedatectl set-ntp true");
  if (source == "hpet" || source == "acpi_pm" || source == "jiffies") {
    return Warn("clock", finding + ": each reading costs a microsecond or more",
                "boot with tsc as the clock source");
  }
  timex state{};
  const int sync = ::adjtimex(&state);
  if (sync == TIME_ERROR || (state.status & STA_UNSYNC) != 0) {
    return Warn("clock", finding + ", not synchronised",
                "run chrony or systemd-timesyncd (ages of samples use wall-clock time)");
  }
  return Pass("clock", finding + ", synchronised");
}

Check OpenFiles() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::string finding = fmt::format("{} open files allowed", limit.rlim_cur);
  if (limit.rlim_cur < 4096)
    return Warn("limits", finding, "ulimit -n 65536 (each connection takes one)");
  return Pass("limits", finding);
}

}  // namespace

std::vector<Check> CheckMachine() {
  return {Kernel(),  SharedMemory(), Cores(),      Memory(),
          Cgroups(), Devices(),      ClockState(), OpenFiles()};
}

}  // namespace evenkeel
