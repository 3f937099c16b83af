// How a node has the cluster's store: not at all, by members that nodes run themselves, or one that runs elsewhere. Part of cluster.json, and what nodes tell each other.
//
// A store that the nodes run can be lost with its members, and be begun anew by an operator on a node that is left (promotion): then another one is the cluster's.
//   Which, all nodes agree on by IsNewer(): the one that was begun later, of two the one whose beginner's name is greater.
// Contract: Parse takes what Write gives; anything else is refused by field (kInvalidArgument).
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostStoreEndpoints = 16;

struct StoreHome {
  enum class Kind : uint8_t { kNone, kMembers, kExternal };
  Kind kind = Kind::kNone;
  std::vector<std::string> endpoints;  // for clients, "10.0.0.2:8012"; 1 to kMostStoreEndpoints
  // kMembers:
  int64_t generation = 0;  // how often it was begun anew
  std::string origin;      // the node that began it
  bool member = false;     // this node runs a member; its own affair, not told
  // kExternal: with TLS, by these files, absolute paths; all empty: without.
  std::string ca_file, cert_file, key_file;

  bool operator==(const StoreHome&) const = default;
};

// "none", "members" or "external".
const char* NameOf(StoreHome::Kind kind);
// Whether `other` is the cluster's store and `known` is one that was given up.
bool IsNewer(const StoreHome& other, const StoreHome& known);

nlohmann::json WriteStoreHome(const StoreHome& store);
Result<StoreHome> ParseStoreHome(const nlohmann::json& object, const std::string& place);
Status CheckStoreHome(const StoreHome& store);

// Of an etcd elsewhere: "http://10.0.0.9:2379,http://10.0.0.10:2379", or https:// for all. kInvalidArgument. `tls`: whether it is https.
Result<std::vector<std::string>> ParseStoreUrls(const std::string& text, bool* tls);

// A node's ports for its member: the second and third after its own, behind that where nodes join.
inline int StoreClientPortOf(int node_port) { return node_port + 2; }
inline int StorePeerPortOf(int node_port) { return node_port + 3; }
// "https://10.0.0.2:8013" of a node at "10.0.0.2:8010".
Result<std::string> StorePeerUrlOf(const std::string& node_address);

}  // namespace evenkeel
