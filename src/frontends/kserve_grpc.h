// The gRPC front end: the Open Inference Protocol (package inference) and grpc.health.v1 on one port.
//
// Use: Start(), then port(); Drain() when the daemon begins to stop, Shutdown() when it ends.
// Contract: inference requests and answers do not pass through protobuf messages; request bytes are handed on where they were
//   received. Where callers need an API key when it starts, nothing is read of a call before its key was looked at; of the few that need none (health) so many at a time, for so long, that
//   strangers cannot fill the memory. Where the first key is made later, requests of ModelInfer are read before their key is looked at until the next start. A client that goes away, or whose deadline passes, cancels its work. ServedModel::Infer() runs on the front end's
//   threads; answers are sent from the thread that calls InferCall::Done().
// Errors: Start(): kConflict when the address cannot be listened on; as ReadTlsPair().
// Thread-safety: thread-safe, but for destruction.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "core/clock.h"
#include "core/status.h"
#include "net/tls_files.h"

namespace evenkeel {

class Authorizer;
class Service;

struct GrpcOptions {
  // Name or IP address; max_connections holds at numeric ones.
  std::string address = "127.0.0.1";
  // 0: any free one.
  int port = 8001;
  // A larger request, as sent or unfolded, is refused with RESOURCE_EXHAUSTED.
  size_t max_message_bytes = size_t{64} << 20;
  // Calls at once on one connection; more wait at the client.
  int max_streams = 1024;
  // Connections at once, of all callers; past it new ones are closed.
  int max_connections = 4096;
  // That read requests; 0: one for every eight cores, 1 to 4.
  int threads = 0;
  // For the buffers of all connections; past it gRPC reads less and drops idle ones.
  size_t memory_bytes = size_t{1} << 30;
  // How long the message of a call may take that shows no key, where others need one.
  std::chrono::milliseconds keyless_patience = std::chrono::seconds(5);
  // Clients speak TLS, 1.2 or 1.3; empty: they do not. Looked at again every few seconds: a renewed pair needs no restart; with a broken one new connections are refused until it is mended.
  TlsPairFiles tls{};
};

class KServeGrpc {
 public:
  // `service` and `authorizer` must outlive the server.
  static Result<std::unique_ptr<KServeGrpc>> Start(Service& service, const Authorizer& authorizer,
                                                   const GrpcOptions& options);
  // Shutdown(0) if that has not happened.
  ~KServeGrpc();
  KServeGrpc(const KServeGrpc&) = delete;
  KServeGrpc& operator=(const KServeGrpc&) = delete;

  int port() const;
  // Health becomes NOT_SERVING; open streams answer what they have read and end. New unary calls are still answered.
  void Drain();
  // Drains, refuses new calls, and waits up to `grace` for those under way; what is left then is cancelled. Blocks until every call
  // has been answered by the service. Later calls return at once.
  void Shutdown(Duration grace = std::chrono::seconds(1));

 private:
  struct Impl;
  explicit KServeGrpc(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace evenkeel
