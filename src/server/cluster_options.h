// Where a node of a cluster listens, and who the others are.
//
// Thread-safety: a value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/policy/route.h"
#include "cluster/resource_vector.h"
#include "core/status.h"

namespace evenkeel {

struct ClusterPeer {
  std::string name;
  std::string address;  // "10.0.0.2:8010", "[::1]:8010"
};

struct ClusterOptions {
  std::string name;  // of this node; empty: there is no cluster
  std::string address = "127.0.0.1";
  int port = 0;  // 0: any free one
  std::vector<ClusterPeer> peers;
  RouteRule route = RouteRule::kUtility;
  size_t max_message_bytes = size_t{64} << 20;
  ResourceVector resources;  // of this server
};

// "b=10.0.0.2:8010,c=[::1]:8010". Error kInvalidArgument: says which part is wrong; `own` and names given twice are refused.
Result<std::vector<ClusterPeer>> ParsePeers(std::string_view text, std::string_view own);
// 1 to 63 letters, digits, - and _; begins with a letter or digit.
Status CheckNodeName(std::string_view name);

}  // namespace evenkeel
