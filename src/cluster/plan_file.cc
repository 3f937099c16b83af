#include "cluster/plan_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "core/format.h"
#include "core/parse.h"
#include "core/replace_file.h"

namespace evenkeel {
namespace {

Status Errno(std::string_view what, const std::string& path) {
  return Unavailable("{}: {}: {}", path, what, std::generic_category().message(errno));
}

// At most one byte more than a plan may have. nullopt: there is no file.
Result<std::optional<std::string>> ReadFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0 && errno == ENOENT) return std::optional<std::string>();
  if (fd < 0) return Errno("open", path);
  std::string text(kMostStoredPlanBytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const Status status = Errno("read", path);
      ::close(fd);
      return status;
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  ::close(fd);
  text.resize(size);
  return std::optional<std::string>(std::move(text));
}

}  // namespace

Status PlanFile::Save(const StoredPlan& plan) const {
  if (plan.cluster != cluster_)
    return InvalidArgument("the plan is of cluster {}; this node is in cluster {}",
                           Excerpt(plan.cluster), cluster_);
  const auto text = WriteStoredPlan(plan);
  if (!text.ok()) return text.status();
  return ReplaceFile(path_, *text);
}

Result<std::optional<StoredPlan>> PlanFile::Load() const {
  const auto text = ReadFile(path_);
  if (!text.ok()) return text.status();
  if (!text->has_value()) return std::optional<StoredPlan>();
  auto plan = ParseStoredPlan(**text);
  if (!plan.ok()) return plan.status().Annotate(path_);
  if (plan->cluster != cluster_)
    return Conflict("{}: the plan is of cluster {}; this node is in cluster {}", path_,
                    plan->cluster, cluster_);
  return std::optional<StoredPlan>(std::move(*plan));
}

}  // namespace evenkeel
