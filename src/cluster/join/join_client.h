// How a new node gets into a cluster: it looks at the authority that a join desk shows, holds it to its token, and only then says the token.
//
// Contract: nothing is sent before the authority's certificate has the digest that the token carries; what is sent goes to a server that this authority
//   certified for the address. Blocks, 30 s at most.
// Errors: kUnavailable (nobody there), kUnauthenticated (another cluster's, or the desk refuses), kConflict (the name is taken), kInvalidArgument (token, address).
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "cluster/home/cluster_home.h"
#include "cluster/pki/node_certificate.h"
#include "core/status.h"

namespace evenkeel {

struct Joined {
  pki::NodeCertificate certificate;
  ClusterHome home;
};

// `desk`: "10.0.0.2:8011". `own`: this node's name, and where it will be reached. `scratch`: a folder for a file that is gone afterwards.
Result<Joined> JoinCluster(const std::string& desk, std::string_view token, const NodeAddress& own,
                           const std::string& scratch);

}  // namespace evenkeel
