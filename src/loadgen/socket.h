// Where a server is, and sockets to it. TCP over IPv4 and IPv6, no TLS.
//
// Thread-safety: thread-safe.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel::loadgen {

// "http://host:port/path", "grpc://host:port", "host:port".
struct Url {
  std::string scheme;             // "http" or "grpc"; "" when not given
  std::string host;               // without the brackets of an IPv6 address
  std::string port;               // decimal
  std::string path;               // "" or "/..." (with the query)
  std::string Authority() const;  // "host:port", brackets restored
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

// Lets this process hold as many sockets as the system allows; returns that number.
int RaiseSocketLimit();

}  // namespace evenkeel::loadgen
