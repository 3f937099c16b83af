#include "containers/oci_spec.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "containers/seccomp_profile.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

Json Bind(const std::string& from, const std::string& to, bool writable) {
  Json options = {"bind", "nosuid", "nodev", writable ? "rw" : "ro"};
  // Code comes from read-only places only.
  if (writable) options.push_back("noexec");
  return {{"destination", to}, {"type", "bind"}, {"source", from}, {"options", std::move(options)}};
}

Json Filesystem(const char* type, const char* to, Json options) {
  return {{"destination", to}, {"type", type}, {"source", type}, {"options", std::move(options)}};
}

Json Mounts(const ContainerRequest& request) {
  Json mounts = Json::array();
  mounts.push_back(Filesystem("proc", "/proc", {"nosuid", "noexec", "nodev", "ro"}));
  mounts.push_back(
      Filesystem("tmpfs", "/dev", {"nosuid", "noexec", "mode=755", "size=65536", "strictatime"}));
  mounts.push_back(
      Filesystem("tmpfs", "/tmp",
                 {"nosuid", "nodev", "noexec", "mode=1777", "size=" + std::to_string(kTmpBytes)}));
  // Engines count processors, caches and nodes there.
  for (const char* facts : {"/sys/devices/system/cpu", "/sys/devices/system/node"}) {
    mounts.push_back(Bind(facts, facts, false));
  }
  mounts.push_back(Bind(request.init, kInitPath, false));
  // A folder before what lies in it, or it would hide it.
  std::vector<std::pair<std::string, bool>> binds;
  for (const auto& path : request.readable) binds.emplace_back(path, false);
  for (const auto& path : request.writable) binds.emplace_back(path, true);
  std::ranges::sort(binds);
  for (const auto& [path, writable] : binds) mounts.push_back(Bind(path, path, writable));
  return mounts;
}

Json Namespaces(const ContainerRequest& request) {
  Json list = Json::array();
  for (const char* type : {"mount", "pid", "ipc", "uts", "network"})
    list.push_back({{"type", type}});
  if (request.cgroup_namespace) list.push_back({{"type", "cgroup"}});
  return list;
}

Json Resources(const ContainerRequest& request) {
  const Limits& limits = request.limits;
  Json cpu = {{"shares", std::max(2, limits.weight() * 1024 / 1000)}};
  if (!limits.cpus.empty()) cpu["cpus"] = fmt::format("{}", fmt::join(limits.cpus, ","));
  if (limits.quota) {
    cpu["period"] = kQuotaPeriodUs;
    cpu["quota"] = limits.quota_us();
  }
  Json resources = {{"cpu", std::move(cpu)},
                    {"pids", {{"limit", limits.pids}}},
                    {"devices", {{{"allow", false}, {"access", "rwm"}}}}};
  if (limits.memory_bytes > 0) {
    resources["memory"] = {{"limit", limits.memory_bytes}};
    // As much memory and swap together as memory alone: no swap.
    if (request.limit_swap) resources["memory"]["swap"] = limits.memory_bytes;
  }
  return resources;
}

Json Seccomp() {
  Json calls = Json::array();
  calls.push_back({{"names", AllowedCalls()}, {"action", "SCMP_ACT_ALLOW"}});
  calls.push_back({{"names", {"clone"}},
                   {"action", "SCMP_ACT_ALLOW"},
                   {"args",
                    {{{"index", 0},
                      {"value", kNamespaceFlags},
                      {"valueTwo", 0},
                      {"op", "SCMP_CMP_MASKED_EQ"}}}}});
  calls.push_back({{"names", {"clone3"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", ENOSYS}});
#if defined(__x86_64__)
  const char* architecture = "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
  const char* architecture = "SCMP_ARCH_AARCH64";
#else
#error "name this processor's architecture as libseccomp does"
#endif
  return {{"defaultAction", "SCMP_ACT_ERRNO"},
          {"architectures", {architecture}},
          {"syscalls", std::move(calls)}};
}

}  // namespace

std::string SpecText(const ContainerRequest& request) {
  Json capabilities = Json::object();
  if (request.others_files) {
    for (const char* set : {"bounding", "permitted", "effective"})
      capabilities[set] = {"CAP_DAC_OVERRIDE"};
  }
  Json process = {{"terminal", false},
                  {"user", {{"uid", request.uid}, {"gid", request.gid}}},
                  {"args", request.args},
                  {"env", request.env},
                  {"cwd", "/"},
                  {"capabilities", std::move(capabilities)},
                  {"noNewPrivileges", true},
                  {"oomScoreAdj", 500},
                  {"rlimits", {{{"type", "RLIMIT_CORE"}, {"hard", 0}, {"soft", 0}}}}};
  Json linux_part = {
      {"namespaces", Namespaces(request)},
      {"cgroupsPath", request.cgroups_path},
      {"resources", Resources(request)},
      {"seccomp", Seccomp()},
      {"maskedPaths", {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"}}};
  const Json spec = {
      {"ociVersion", "1.0.2"},         {"hostname", "worker"},
      {"process", std::move(process)}, {"root", {{"path", request.root}, {"readonly", true}}},
      {"mounts", Mounts(request)},     {"annotations", {{"evenkeel.state", request.label}}},
      {"linux", std::move(linux_part)}};
  return spec.dump(1);
}

}  // namespace evenkeel
