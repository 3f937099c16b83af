#include "server/cluster_options.h"

#include <set>
#include <utility>

#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/settings.h"

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

Result<ClusterOptions> ClusterOptionsOf(const Settings& settings) {
  ClusterOptions cluster;
  // What counts for a node with a cluster folder too, which has no name in the settings.
  cluster.lease = settings.duration("cluster.lease");
  cluster.copy_rate_bytes_s = settings.bytes("cluster.copy_rate");
  cluster.replan_auto = settings.text("cluster.replan") == "auto";
  cluster.max_message_bytes = static_cast<size_t>(settings.bytes("max_body")) + (size_t{1} << 20);
  const auto route = RouteRuleNamed(settings.text("cluster.route"));
  if (!route.ok()) return route.status().Annotate("cluster.route");
  cluster.route = *route;
  const auto balance = BalanceRuleNamed(settings.text("cluster.balance"));
  if (!balance.ok()) return balance.status().Annotate("cluster.balance");
  cluster.balance = *balance;
  cluster.name = settings.text("cluster.name");
  const std::string& peers = settings.text("cluster.peers");
  if (cluster.name.empty()) {
    if (!peers.empty())
      return InvalidArgument(
          "cluster.peers is set, but cluster.name, this node's own name, is not");
    return cluster;
  }
  if (const Status name = pki::CheckNodeName(cluster.name); !name.ok())
    return name.Annotate("cluster.name");
  cluster.address = settings.text("cluster.address");
  cluster.port = static_cast<int>(settings.integer("cluster.port"));
  auto others = ParsePeers(peers, cluster.name);
  if (!others.ok()) return others.status().Annotate("cluster.peers");
  cluster.peers = std::move(*others);
  return cluster;
}

}  // namespace evenkeel
