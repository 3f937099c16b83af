// What a node has to show and to hold others to: its certificate with its key, and the authority's certificate.
//
// Contract: the three belong together, and say which node of which cluster this is. Whether they are valid now is the user's to ask (PeerCheck does).
// Errors: kInvalidArgument (they do not belong together), as ReadSecretFile().
// Thread-safety: a value.
#pragma once

#include <string>

#include "cluster/pki/certificate_life.h"
#include "core/status.h"

namespace evenkeel::pki {

struct NodeCertificate {
  std::string chain_pem;  // the node's certificate, then the authority's
  std::string key_pem;
  std::string authority_pem;
  // From the certificate.
  std::string cluster, node;
  WallTime not_before, not_after;

  // From what the authority gave (CertificateAuthority::Sign) and the node's own key.
  static Result<NodeCertificate> Create(std::string chain_pem, std::string key_pem);
  // From node.pem in `folder`.
  static Result<NodeCertificate> Load(const std::string& folder);
  // Key and certificates in one secret file: a renewal that is cut short leaves a pair.
  Status Save(const std::string& folder) const;
};

}  // namespace evenkeel::pki
