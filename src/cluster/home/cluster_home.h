// What a server keeps of the cluster that it is a node of: the folder `cluster` in its state folder.
//
//   cluster.json                  the cluster's id, this node's name and address, the others', how the store is had (this file)
//   node.pem                      this node's certificate with its key (pki/node_certificate.h)
//   authority.pem, authority.key  on the node that made the cluster, and tokens/ (pki/certificate_authority.h, join_tokens.h)
// Contract: Save() replaces the file as a whole. Load() refuses what Save() did not write, by field.
// Errors: kNotFound (this server is in no cluster), kInvalidArgument with the file and what was expected, kTooLarge, kUnavailable (the disk).
// Thread-safety: values; two writers of one folder exclude each other by the state folder's lock.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/home/store_home.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostNodes = 1000;

struct NodeAddress {
  std::string name;
  std::string address;  // where other nodes reach it: "10.0.0.2:8010", "[::1]:8010"
  bool operator==(const NodeAddress&) const = default;
};

// "10.0.0.2:8010" as host and port; brackets taken off. Error kInvalidArgument.
struct HostPort {
  std::string host;  // numeric, IPv4 or IPv6
  int port = 0;      // 1 to 65535
};
Result<HostPort> ParseHostPort(std::string_view text);
std::string FormatHostPort(const std::string& host, int port);
// Whether two numeric addresses are of one host, however they are written: "::ffff:10.0.0.2" is 10.0.0.2. False where one is none.
bool SameHost(std::string_view a, std::string_view b);
// Whether one host is meant, so that others can reach a node there: not 0.0.0.0 or ::, no multicast or broadcast address. Error kInvalidArgument.
Status CheckOneHost(std::string_view host);
// As SameHost(), of "ADDRESS:PORT", and of the port.
bool SameAddress(std::string_view a, std::string_view b);

struct ClusterHome {
  std::string cluster;               // id
  NodeAddress own;                   // this node
  std::vector<NodeAddress> peers;    // the others, by name
  StoreHome store;                   // of the cluster's small facts
  std::vector<std::string> removed;  // names of nodes that were taken off the cluster

  bool Knows(std::string_view name) const;
};

std::string ClusterFolder(const std::string& state);  // "STATE/cluster"
Result<ClusterHome> LoadClusterHome(const std::string& folder);
Status SaveClusterHome(const std::string& folder, const ClusterHome& home);

}  // namespace evenkeel
