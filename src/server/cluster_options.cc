#include "server/cluster_options.h"

#include <set>

#include "cluster/pki/node_identity.h"
#include "core/format.h"

namespace evenkeel {

Result<std::vector<NodeAddress>> ParsePeers(std::string_view text, std::string_view own) {
  std::vector<NodeAddress> peers;
  std::set<std::string, std::less<>> names{std::string(own)};
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos)
      return InvalidArgument("expected NAME=ADDRESS:PORT, got '{}'", part);
    const std::string_view name = part.substr(0, equals);
    EK_RETURN_IF_ERROR(pki::CheckNodeName(name));
    if (const auto address = ParseHostPort(part.substr(equals + 1)); !address.ok())
      return address.status().Annotate(fmt::format("node '{}'", name));
    if (!names.emplace(name).second)
      return InvalidArgument("node '{}' {}", name, name == own ? "is this one" : "comes twice");
    peers.push_back({std::string(name), std::string(part.substr(equals + 1))});
  }
  return peers;
}

}  // namespace evenkeel
