// Where a server is, and sockets to it. TCP over IPv4 and IPv6, with TLS where the URL says so.
//
// Thread-safety: thread-safe.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"
#include "net/tls_session.h"

namespace evenkeel::loadgen {

// "http://host:port/path", "https://...", "grpc://host:port", "grpcs://...", "host:port".
struct Url {
  std::string scheme;             // "http", "https", "grpc" or "grpcs"; "" when not given
  std::string host;               // without the brackets of an IPv6 address
  std::string port;               // decimal
  std::string path;               // "" or "/..." (with the query)
  std::string Authority() const;  // "host:port", brackets restored
  std::string ca_file{};          // TLS: PEM file of what to trust; empty: the system's store
  bool tls() const { return scheme == "https" || scheme == "grpcs"; }
};
Result<Url> ParseUrl(std::string_view text, std::string_view default_port);

struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
};
// Blocks on the resolver. Error kUnavailable names the host.
Result<Endpoint> Resolve(const Url& url);

// A file descriptor that is closed with its owner.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& o) noexcept : fd_(o.fd_) { o.fd_ = -1; }
  Socket& operator=(Socket&& o) noexcept;
  ~Socket() { Close(); }
  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

// Starts a non-blocking connect (TCP_NODELAY). Error kUnavailable when it fails at once.
Result<Socket> StartConnect(const Endpoint& endpoint);
// Waits for StartConnect() to succeed. Errors kUnavailable, kDeadlineExceeded.
Status FinishConnect(int fd, Duration timeout);

// Agrees on TLS with `url.host` over a connected socket, and waits for that. Errors kUnavailable (also: the certificate is not trusted),
// kDeadlineExceeded.
Result<std::unique_ptr<TlsSession>> FinishTls(const openssl::Context& context, const Url& url,
                                              int fd, Duration timeout);
// recv() and send(), through `tls` where that is not null.
ssize_t Receive(int fd, TlsSession* tls, char* to, size_t room);
ssize_t Send(int fd, TlsSession* tls, std::string_view bytes);

// Lets this process hold as many sockets as the system allows; returns that number.
int RaiseSocketLimit();

}  // namespace evenkeel::loadgen
