// TLS settings of listeners and of clients, as OpenSSL contexts.
//
// Use for: the HTTP server's and client's TLS. Not for: gRPC, which reads the same files with its own means (frontends/kserve_grpc), and nodes
//   among each other (cluster/link).
// Contract: listeners speak TLS 1.2 with forward secrecy and authenticated ciphers only, and 1.3 where the client can; http/1.1 by ALPN; session
//   tickets; no compression, no renegotiation, no early data. Clients speak the same versions and check certificate and name.
// Thread-safety: thread-safe.
#pragma once

#include <mutex>
#include <string>

#include "core/clock.h"
#include "core/status.h"
#include "net/openssl.h"
#include "net/tls_files.h"

namespace evenkeel {

// What listeners present: a pair of files that is looked at again, so that a renewed certificate needs no restart.
class TlsServerContext {
 public:
  // Errors: as ReadTlsPair(); kInvalidArgument when OpenSSL does not take the pair (a key that is too small).
  static Result<std::unique_ptr<TlsServerContext>> Load(
      TlsPairFiles files, const Clock& clock = SteadyClock::Instance());

  // For a new connection. Looks whether the files have changed, at most every two seconds; those that are broken are logged once, and the last
  // good pair stays. Never null.
  openssl::Context Current();
  // Of the certificate that is in use.
  CertificateFacts facts() const;

 private:
  struct Loaded {
    openssl::Context context;
    CertificateFacts facts;
  };
  TlsServerContext(TlsPairFiles files, const Clock& clock);
  static Result<Loaded> LoadFiles(const TlsPairFiles& files);
  std::string Stamp() const;

  const TlsPairFiles files_;
  const Clock& clock_;
  mutable std::mutex mutex_;  // guards what follows
  Loaded loaded_;
  std::string stamp_;  // of the files at the last attempt to load them
  Time looked_{};
};

// `authorities` is a PEM file of certificates to trust, and nothing else then is; one of them may be the server's own. Empty: the system's store.
Result<openssl::Context> MakeTlsClientContext(const std::string& authorities);

// Has `session` ask for `host` (a name, or an address without brackets) and accept a certificate for it only. False: memory is out, or no
// certificate could ever be for such a name.
bool ExpectTlsHost(SSL* session, const std::string& host);

}  // namespace evenkeel
