// HTTP/1.1 server: keep-alive, pipelining, bounded in every direction, one handler for all
// requests.
//
// Contract: every complete request reaches the handler once, on its connection's loop thread, and
//   its answer goes out in the order of requests. Malformed, slow and oversized requests are
//   answered here (400 403 408 413 415 431 501 503 505) in the handler's words (Refusal). gzip and
//   deflate bodies are unfolded before the handler sees them. A connection that ends inside a request gets a 400;
//   one that ends after it has its requests in work cancelled (HttpWork::OnCancel). X-Request-Id is
//   echoed. With `tls` all of that holds inside of TLS (tls_context.h), and plain HTTP gets a plain 400.
// Thread-safety: thread-safe; handlers run on the loops.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "net/http_message.h"

namespace evenkeel {

class IoLoop;
class TlsServerContext;

struct HttpLimits {
  size_t head_bytes = 16 * 1024;         // request line and fields: above, 431
  size_t fields = 100;                   // above: 431
  size_t body_bytes = 64 * 1024 * 1024;  // as sent, and unfolded: above, 413
  // Bodies of all connections together that do not fit a receive buffer: above, 503.
  size_t all_bodies_bytes = size_t{1} << 30;
  int connections = 10'000;  // above: 503 and closed
  size_t handshakes = 256;   // TLS: under way on one loop; a newer one has the oldest closed
  int pipelined = 64;        // requests of one connection in work; above, it is not read
  size_t unsent_bytes =
      4 * 1024 * 1024;                // answers waiting for one connection; above, it is not read
  size_t stream_bytes = 1024 * 1024;  // of a streamed answer, not yet sent: above, closed
  // From a request's first byte to its last, head and body: after it, 408. TLS: also for the handshake. Not counted: time in
  // which the server itself does not read on.
  Duration request_time = std::chrono::seconds(30);
  Duration idle_time =
      std::chrono::seconds(75);  // between requests: after it, closed without a word
  // No progress in sending, or no word from the client's machine about what was sent: closed.
  Duration write_time = std::chrono::seconds(30);
  Duration linger_time =
      std::chrono::seconds(2);  // reading on after a refusal, so that the client sees it
};

struct HttpServerOptions {
  std::string address = "127.0.0.1";       // numeric, IPv4 or IPv6
  uint16_t port = 0;                       // 0: any free one
  std::vector<std::string> allowed_hosts;  // besides localhost and addresses
  std::shared_ptr<TlsServerContext> tls;   // null: plain HTTP. Also of every loop's connections
  HttpLimits limits;
};

struct HttpServerStats {
  uint64_t accepted = 0, refused = 0, requests = 0, cancelled = 0;
  uint64_t lost_handshakes = 0;  // TLS: that failed, took too long, or were plain HTTP
  int open = 0;
};

class HttpLoop;

class HttpServer {
 public:
  // Listens at once. Connections are spread over `loops` (at least one; started or not yet), which
  // outlive the server. Errors: kInvalidArgument for a bad address, kUnavailable when the port is
  // taken or not allowed.
  static Result<std::unique_ptr<HttpServer>> Listen(const HttpServerOptions& options,
                                                    HttpHandler* handler,
                                                    std::vector<IoLoop*> loops);
  // Closes everything, then waits until each call in work was answered. REQUIRES: the loops run or
  // never did; the handler still answers; not on a loop's thread.
  ~HttpServer();

  uint16_t port() const { return port_; }
  const std::string& address() const { return address_; }
  // Stops listening, closes idle connections, and closes the others after the answers they wait
  // for, streams too.
  void Drain();
  HttpServerStats stats() const;

 private:
  class Acceptor;
  HttpServer(std::string address, uint16_t port);

  const std::string address_;
  const uint16_t port_;
  std::shared_ptr<Acceptor> acceptor_;  // also of its callbacks on the loop
  std::vector<std::shared_ptr<HttpLoop>> loops_;
};

}  // namespace evenkeel
