#include "containers/node_cores.h"

#include <algorithm>
#include <string>

#include "containers/cgroup_text.h"

namespace evenkeel {
namespace {

// Cores of one group's own quota; nothing where it has none.
std::optional<double> QuotaOf(const CgroupHost& host, const std::string& folder) {
  const auto read = [&](const char* file) {
    const auto text = host.files().Read(folder + file);
    return text.ok() ? *text : std::string();
  };
  std::string quota_text, period_text;
  if (host.version() == 2) {
    const std::string both = read("/cpu.max");  // "max 100000"
    const size_t space = both.find(' ');
    if (space == std::string::npos) return std::nullopt;
    quota_text = both.substr(0, space);
    period_text = both.substr(space + 1);
  } else {
    quota_text = read("/cpu.cfs_quota_us");  // -1: none
    period_text = read("/cpu.cfs_period_us");
  }
  const auto quota = Number(quota_text), period = Number(period_text);
  if (!quota || !period || *quota == 0 || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

std::optional<double> CoreQuota(const CgroupHost& host) {
  std::optional<double> least;
  for (std::string up = host.OwnFolder("cpu");
       !up.empty() && host.files().Exists(up + "/cgroup.procs"); up = up.substr(0, up.rfind('/'))) {
    const auto quota = QuotaOf(host, up);
    if (quota) least = std::min(least.value_or(*quota), *quota);
  }
  return least;
}

std::optional<double> OwnCoreQuota() {
  const auto host = CgroupHost::Detect();
  return host.ok() ? CoreQuota(*host) : std::nullopt;
}

}  // namespace evenkeel
