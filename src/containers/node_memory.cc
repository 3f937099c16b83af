#include "containers/node_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "containers/cgroup_text.h"

namespace evenkeel {
namespace {

// "MemAvailable:    1234 kB", with a tab in /proc/PID/status.
std::optional<int64_t> BytesOf(std::string_view meminfo, std::string_view key) {
  for (const std::string_view line : Split(meminfo, '\n')) {
    if (!line.starts_with(key)) continue;
    const size_t digits = line.find_first_of("0123456789", key.size());
    if (digits == std::string_view::npos) return std::nullopt;
    const auto value = Number(line.substr(digits, line.find(' ', digits) - digits));
    if (value) return static_cast<int64_t>(*value) * 1024;
    return std::nullopt;
  }
  return std::nullopt;
}

// What a group may still take; nothing where it has no limit.
std::optional<int64_t> LeftIn(const CgroupHost& host, const std::string& folder, int64_t* most) {
  const bool v2 = host.version() == 2;
  const auto read = [&](const char* file) {
    const auto text = host.files().Read(folder + file);
    return text.ok() ? *text : std::string();
  };
  const auto limit = Number(read(v2 ? "/memory.max" : "/memory.limit_in_bytes"));
  const auto used = Number(read(v2 ? "/memory.current" : "/memory.usage_in_bytes"));
  // Version 1 says "no limit" by a number beyond any machine.
  if (!limit || !used || *limit > (uint64_t{1} << 60)) return std::nullopt;
  const auto cache = CountIn(read("/memory.stat"), v2 ? "inactive_file" : "total_inactive_file");
  *most = static_cast<int64_t>(*limit);
  const auto held = static_cast<int64_t>(*used - std::min(*used, cache.value_or(0)));
  return std::max<int64_t>(0, *most - held);
}

std::string Slurp(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

NodeMemory MemoryOf(std::string_view meminfo, const CgroupHost* host) {
  NodeMemory memory{BytesOf(meminfo, "MemTotal:").value_or(0), BytesOf(meminfo, "MemAvailable:")};
  if (host == nullptr) return memory;
  for (std::string up = host->OwnFolder("memory");
       !up.empty() && host->files().Exists(up + "/cgroup.procs");
       up = up.substr(0, up.rfind('/'))) {
    int64_t most = 0;
    const auto left = LeftIn(*host, up, &most);
    if (!left) continue;
    memory.total_bytes = std::min(memory.total_bytes, most);
    memory.free_bytes = std::min(memory.free_bytes.value_or(*left), *left);
  }
  return memory;
}

int64_t HeldMemory(pid_t pid) {
  if (pid <= 0) return 0;
  const std::string status = Slurp(("/proc/" + std::to_string(pid) + "/status").c_str());
  return BytesOf(status, "RssAnon:").value_or(0) + BytesOf(status, "RssShmem:").value_or(0);
}

NodeMemoryGauge::NodeMemoryGauge() {
  auto host = CgroupHost::Detect();
  if (host.ok()) host_ = std::move(*host);
}

NodeMemory NodeMemoryGauge::Read() const {
  return MemoryOf(Slurp("/proc/meminfo"), host_ ? &*host_ : nullptr);
}

}  // namespace evenkeel
