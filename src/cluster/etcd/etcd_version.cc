#include "cluster/etcd/etcd_version.h"

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {

Status CheckEtcdVersion(std::string_view version) {
  const size_t first = version.find('.');
  const size_t second = first == std::string_view::npos ? first : version.find('.', first + 1);
  const auto malformed = [version] {
    return InvalidArgument("etcd's version: expected one as in 3.4.23, got {}", Excerpt(version));
  };
  if (second == std::string_view::npos) return malformed();
  const auto major = ParseInt(version.substr(0, first), 0, 1000);
  const auto minor = ParseInt(version.substr(first + 1, second - first - 1), 0, 1000);
  if (!major.ok() || !minor.ok()) return malformed();
  if (*major != 3 || *minor < 4 || *minor > 6)
    return Unsupported("etcd's version is {}; expected 3.4 to 3.6", Excerpt(version));
  return Status::Ok();
}

}  // namespace evenkeel
