#include "profiling/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "core/format.h"

namespace evenkeel {
namespace {

// The text after "key : " of the first such line.
std::string FieldOf(std::string_view cpuinfo, std::string_view key) {
  for (size_t at = 0; at < cpuinfo.size();) {
    const size_t end = std::min(cpuinfo.find('\n', at), cpuinfo.size());
    const std::string_view line = cpuinfo.substr(at, end - at);
    at = end + 1;
    const size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string_view::npos) continue;
    const size_t after_key = line.find_first_not_of(" \t", key.size());
    if (after_key != colon) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string_view::npos ? std::string() : std::string(line.substr(begin));
  }
  return {};
}

uint32_t Fnv(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace

Machine DescribeMachine(std::string_view cpuinfo, const HostSize& host) {
  std::string model = FieldOf(cpuinfo, "model name");
  if (model.empty()) model = "processor";
  std::istringstream words(FieldOf(cpuinfo, "flags"));
  const std::set<std::string> flags{std::istream_iterator<std::string>(words), {}};
  std::string extensions;
  for (const char* flag :
       {"sse4_2", "avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}) {
    if (flags.contains(flag)) extensions += std::string(extensions.empty() ? "" : " ") + flag;
  }
  Machine machine;
  machine.bf16 = flags.contains("avx512_bf16") || flags.contains("amx_bf16");
  const std::string text =
      fmt::format("{}, {:g} cores, {} GiB, {}", model, host.milli_cores / 1000.0,
                  (host.memory_bytes + (int64_t{1} << 29)) >> 30,
                  extensions.empty() ? "no vector extensions known" : extensions);
  machine.fingerprint = fmt::format("{} ({:08x})", text, Fnv(text));
  return machine;
}

Machine ThisMachine(const HostSize& host) {
  std::ifstream in("/proc/cpuinfo");
  std::ostringstream text;
  text << in.rdbuf();
  return DescribeMachine(text.str(), host);
}

HostSize ThisHost() {
  HostSize host;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) host.milli_cores = 1000 * CPU_COUNT(&set);
  host.memory_bytes = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGE_SIZE);
  return host;
}

}  // namespace evenkeel
