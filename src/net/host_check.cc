#include "net/host_check.h"

#include <arpa/inet.h>

#include <algorithm>

#include "core/format.h"

namespace evenkeel {
namespace {

// "localhost:8000" to "localhost", "[::1]:8000" to "::1".
std::string_view WithoutPort(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, std::min(host.find(']'), host.size()) - 1);
  return host.substr(0, std::min(host.find(':'), host.size()));
}

bool IsIpAddress(std::string_view host) {
  const std::string text(host);
  in6_addr address{};
  return ::inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace

HttpError CheckHostAndOrigin(const HttpHead& head, bool check_host,
                             const std::vector<std::string>& allowed_hosts) {
  const std::string_view host = head.Find("host");
  if (check_host && !host.empty()) {
    const std::string_view name = WithoutPort(host);
    const bool known = EqualsNoCase(name, "localhost") || IsIpAddress(name) ||
                       std::ranges::any_of(allowed_hosts, [&](const std::string& h) {
                         return EqualsNoCase(name, h);
                       });
    if (!known) return {403, fmt::format("host '{}' is not one of this server's names", name)};
  }
  const std::string_view origin = head.Find("origin");
  if (!origin.empty()) {
    const size_t scheme = origin.find("://");
    const bool same =
        scheme != std::string_view::npos && EqualsNoCase(origin.substr(scheme + 3), host);
    if (!same) return {403, "requests from other origins are not allowed"};
  }
  return {};
}

}  // namespace evenkeel
