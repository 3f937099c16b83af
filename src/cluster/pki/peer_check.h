// Which node of this cluster a certificate proves its holder to be, or why it proves nothing.
//
// Use for: both ends of a connection between nodes, after TLS has shown that the peer holds the key. Not for: clients' connections.
// Contract: a chain proves a name iff this cluster's authority signed it, it is valid at `now`, it is for the role that the peer has, and
//   cluster and name in it agree with each other (NodeDnsName).
// Errors: kUnauthenticated, with the reason. Thread-safety: thread-safe.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "cluster/pki/certificate_life.h"
#include "core/status.h"
#include "net/openssl.h"

namespace evenkeel::pki {

enum class PeerRole { kClient, kServer };  // what the peer is

class PeerCheck {
 public:
  // Error kInvalidArgument: `authority_pem` is no authority's certificate.
  static Result<PeerCheck> Create(std::string_view authority_pem);

  const std::string& cluster() const { return cluster_; }

  // The node's name. `chain_pem`: the peer's certificate first; what follows is not trusted, and may be missing.
  Result<std::string> ProvenNode(std::string_view chain_pem, PeerRole role, WallTime now) const;
  // The same for one node: another's name is an error, too.
  Status Expect(std::string_view node, std::string_view chain_pem, PeerRole role,
                WallTime now) const;

 private:
  PeerCheck() = default;

  openssl::Store authorities_;  // this cluster's alone
  std::string cluster_;
};

}  // namespace evenkeel::pki
