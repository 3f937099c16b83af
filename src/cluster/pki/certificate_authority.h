// The cluster's own certificate authority: what makes a node one of the cluster.
//
// Use for: mutual TLS between nodes. Not for: what clients see (that pair is the operator's, settings tls.*).
// Contract: keys are on P-256. A node's certificate names its cluster and its name (NodeDnsName) and the addresses that were asked for, serves as
//   client and as server, and can sign nothing. The authority's key is only in its secret file and in this object.
// Units: `now` is wall-clock time. Thread-safety: const methods are thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "cluster/pki/certificate_life.h"
#include "cluster/pki/signing_request.h"
#include "core/status.h"
#include "net/openssl.h"

namespace evenkeel::pki {

using Sha256 = std::array<uint8_t, 32>;

// Of the certificate's DER form: what joiners hold the authority to.
Sha256 DigestOf(X509* certificate);

class CertificateAuthority {
 public:
  // Of a new cluster. Errors: kInvalidArgument (no such id).
  static Result<CertificateAuthority> Make(const std::string& cluster, WallTime now);
  // From authority.pem and authority.key in `folder`. Errors: as ReadSecretFile(); kInvalidArgument: not an authority's, or not a pair.
  static Result<CertificateAuthority> Load(const std::string& folder);
  // The key first: where there is a certificate, there is its key. Refuses to replace another authority (kConflict).
  Status Save(const std::string& folder) const;

  const std::string& cluster() const { return cluster_; }
  const std::string& certificate_pem() const { return certificate_pem_; }
  Sha256 digest() const { return DigestOf(certificate_.get()); }

  // The node's certificate, then this authority's, as PEM. Valid from now on (less kClockSkew) for `life`, at most kNodeLife. Errors:
  // kInvalidArgument: for another cluster, or too long.
  Result<std::string> Sign(const SigningRequest& request, WallTime now,
                           std::chrono::seconds life = kNodeLife) const;

 private:
  CertificateAuthority(openssl::Certificate certificate, openssl::Key key, std::string cluster);

  openssl::Certificate certificate_;
  openssl::Key key_;
  std::string cluster_;
  std::string certificate_pem_;
};

}  // namespace evenkeel::pki
