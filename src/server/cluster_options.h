// Where a node of a cluster listens, and who the others are.
//
// Thread-safety: a value.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/home/cluster_home.h"
#include "cluster/policy/balance_rule.h"
#include "cluster/policy/route.h"
#include "cluster/resource_vector.h"
#include "core/clock.h"
#include "core/status.h"
#include "server/membership_hooks.h"

namespace evenkeel {

class Settings;

struct ClusterOptions {
  std::string name;  // of this node; empty: there is no cluster
  std::string address = "127.0.0.1";
  int port = 0;  // 0: any free one
  std::vector<NodeAddress> peers;
  RouteRule route = RouteRule::kUtility;
  BalanceRule balance = BalanceRule::kAuto;
  bool replan_auto = false;  // plans that are worth it are applied; else only proposed
  size_t max_message_bytes = size_t{64} << 20;
  ResourceVector resources;  // of this server
  // Folders that models are copied into, and bytes a second that such copies may take.
  std::string models, state;
  int64_t copy_rate_bytes_s = int64_t{64} << 20;
  // How others reach it; empty: as it listens.
  std::string own_address;
  // Nodes that are not among `peers` may come, told by one that is; `on_nodes` hears of all of them then. Only with credentials.
  std::function<void(const std::vector<NodeAddress>&)> on_nodes;
  MembershipHooks membership;
  Duration lease = std::chrono::seconds(10);  // of a node in the store; 1 s to 5 min
};

// "b=10.0.0.2:8010,c=[::1]:8010". Error kInvalidArgument: says which part is wrong; `own` and names given twice are refused.
Result<std::vector<NodeAddress>> ParsePeers(std::string_view text, std::string_view own);

// What the settings say of it; `name` empty where they name no node. A node with a cluster folder takes name, address and peers from there (ClusterHost), and the rest from here.
// Error kInvalidArgument: says which setting is wrong.
Result<ClusterOptions> ClusterOptionsOf(const Settings& settings);

}  // namespace evenkeel
