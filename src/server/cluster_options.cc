#include "server/cluster_options.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {

Status CheckNodeName(std::string_view name) {
  const auto word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  if (name.empty() || name.size() > 63 || !word(name[0]) ||
      !std::ranges::all_of(name, [&](char c) { return word(c) || c == '-' || c == '_'; }))
    return InvalidArgument(
        "name of a node: expected 1 to 63 letters, digits, - and _, a letter or digit first; got '{}'",
        name);
  return Status::Ok();
}

Result<std::vector<ClusterPeer>> ParsePeers(std::string_view text, std::string_view own) {
  std::vector<ClusterPeer> peers;
  std::set<std::string, std::less<>> names{std::string(own)};
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const size_t equals = part.find('=');
    const size_t colon = part.rfind(':');
    if (equals == std::string_view::npos || colon == std::string_view::npos || colon < equals + 2)
      return InvalidArgument("expected NAME=ADDRESS:PORT, got '{}'", part);
    const std::string_view name = part.substr(0, equals);
    EK_RETURN_IF_ERROR(CheckNodeName(name));
    if (const auto port = ParseInt(part.substr(colon + 1), 1, 65535); !port.ok())
      return port.status().Annotate(fmt::format("port of node '{}'", name));
    if (!names.emplace(name).second)
      return InvalidArgument(name == own ? "node '{}' is this one" : "node '{}' comes twice", name);
    peers.push_back({std::string(name), std::string(part.substr(equals + 1))});
  }
  return peers;
}

}  // namespace evenkeel
