// The certificate that a gRPC server presents: a pair of files that is looked at again, so that a renewed one needs no restart, and a broken one none either: the last good pair stays, and
// the log says so. (gRPC's own watcher of files refuses new connections instead.)
//
// Use: Load(), Credentials() for ServerBuilder::AddListeningPort(), once: gRPC asks for the pair of one port. Included by grpc_*.cc and kserve_grpc.cc only.
// Contract: files are looked at when a connection comes, at most every two seconds. Clients speak TLS 1.2 or 1.3, and show no certificate.
// Ownership: it outlives the server that listens with its credentials. Thread-safety: thread-safe.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "core/clock.h"
#include "core/status.h"
#include "net/tls_files.h"

namespace evenkeel {

class GrpcTlsPair {
 public:
  // As PEM.
  struct Pem {
    std::string chain, key;
  };

  // Errors: as ReadTlsPair().
  static Result<std::unique_ptr<GrpcTlsPair>> Load(TlsPairFiles files,
                                                   const Clock& clock = SteadyClock::Instance());
  std::shared_ptr<grpc::ServerCredentials> Credentials();

  // The pair to present from now on; nullopt: the one that was taken last. Blocks on the disk.
  std::optional<Pem> Take();

 private:
  GrpcTlsPair(TlsPairFiles files, const Clock& clock) : files_(std::move(files)), clock_(clock) {}
  Result<Pem> Read() const;
  std::string Stamp() const;

  const TlsPairFiles files_;
  const Clock& clock_;
  std::mutex mutex_;          // guards what follows
  std::optional<Pem> fresh_;  // not taken yet
  std::string stamp_;         // of the files when they were read last
  Time looked_{};
};

}  // namespace evenkeel
