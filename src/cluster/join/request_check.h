// What the authority holds a node's request against before it signs, when the node joins and whenever it asks for a new certificate.
//
// Contract: nobody is certified for another name than his own, nor for any address but the one where he is reached. Without that a node could have itself
//   certified for the desk's address, and be told the tokens of those that join.
// Errors: kPermissionDenied (another node's name), kInvalidArgument (other addresses, or the known one is none). Thread-safety: pure.
#pragma once

#include "cluster/home/cluster_home.h"
#include "cluster/pki/node_identity.h"
#include "core/status.h"

namespace evenkeel {

// `asked`: of the request. `node`: who asks, and where it is reached.
Status CheckRequest(const pki::NodeIdentity& asked, const NodeAddress& node);

}  // namespace evenkeel
