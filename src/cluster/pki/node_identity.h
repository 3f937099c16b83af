// Who a node is, as its certificate says it: cluster, name, and the addresses under which others reach it.
//
// Contract: a node's name is proven by a DNS name below kNodeDomain that only the authority gives out; host names in `addresses` can't be of that
//   domain, so no node can have itself certified as another.
// Errors: kInvalidArgument, with what is allowed.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel::pki {

inline constexpr std::string_view kNodeDomain = "node.evenkeel.internal";
inline constexpr size_t kMaxAddresses = 32;

struct NodeIdentity {
  std::string cluster;                 // id: 1 to 64 of a-z, 0-9 and '-'
  std::string node;                    // 1 to 63 of a-z, 0-9 and '-', the first and last no '-'
  std::vector<std::string> addresses;  // IP addresses and host names, at most kMaxAddresses
};

Status CheckClusterId(std::string_view id);
Status CheckNodeName(std::string_view name);
Status CheckAddress(std::string_view address);
Status CheckIdentity(const NodeIdentity& identity);

// 128 random bits as an id.
std::string NewClusterId();

// "a" to "a.node.evenkeel.internal": the name that the certificate of node a is for, whatever its addresses are.
std::string NodeDnsName(std::string_view node);

}  // namespace evenkeel::pki
