#include "loadgen/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/format.h"

namespace evenkeel::loadgen {

std::string Url::Authority() const {
  return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
}

Result<Url> ParseUrl(std::string_view text, std::string_view default_port) {
  Url url;
  const std::string_view whole = text;
  if (const size_t scheme = text.find("://"); scheme != std::string_view::npos) {
    url.scheme = text.substr(0, scheme);
    text.remove_prefix(scheme + 3);
    if (!url.tls() && url.scheme != "http" && url.scheme != "grpc")
      return InvalidArgument("url '{}': expected http://, https://, grpc:// or grpcs://, got {}://",
                             whole, url.scheme);
  }
  const size_t slash = std::min(text.find('/'), text.size());
  url.path = text.substr(slash);
  std::string_view authority = text.substr(0, slash);
  if (!authority.empty() && authority.front() == '[') {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return InvalidArgument("url '{}': '[' without ']'", whole);
    url.host = authority.substr(1, close - 1);
    authority.remove_prefix(close + 1);
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    url.host = authority.substr(0, colon);
    authority.remove_prefix(colon);
  }
  url.port = authority.empty() ? std::string(default_port) : std::string(authority.substr(1));
  unsigned port = 0;
  const auto [end, error] =
      std::from_chars(url.port.data(), url.port.data() + url.port.size(), port);
  const bool number =
      error == std::errc() && end == url.port.data() + url.port.size() && port > 0 && port < 65536;
  if (url.host.empty() || !number || (!authority.empty() && authority.front() != ':')) {
    return InvalidArgument(
        "url '{}': expected [http://]host[:port][/path] with a port of 1 to 65535", whole);
  }
  return url;
}

Result<Endpoint> Resolve(const Url& url) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found);
  if (error != 0) return Unavailable("cannot resolve '{}': {}", url.host, gai_strerror(error));
  Endpoint endpoint;
  std::memcpy(&endpoint.address, found->ai_addr, found->ai_addrlen);
  endpoint.length = found->ai_addrlen;
  freeaddrinfo(found);
  return endpoint;
}

Socket& Socket::operator=(Socket&& o) noexcept {
  if (this != &o) {
    Close();
    fd_ = std::exchange(o.fd_, -1);
  }
  return *this;
}

void Socket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<Socket> StartConnect(const Endpoint& endpoint) {
  Socket socket(
      ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.open()) return Unavailable("socket: {}", std::strerror(errno));
  const int on = 1;
  setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.length) !=
          0 &&
      errno != EINPROGRESS) {
    return Unavailable("connect: {}", std::strerror(errno));
  }
  return socket;
}

Status FinishConnect(int fd, Duration timeout) {
  pollfd p{fd, POLLOUT, 0};
  const int n = poll(&p, 1, static_cast<int>(timeout / std::chrono::milliseconds(1)));
  if (n == 0) return DeadlineExceeded("no connection within {} s", Seconds(timeout));
  int error = 0;
  socklen_t size = sizeof error;
  if (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  return error == 0 ? Status::Ok() : Unavailable("connect: {}", std::strerror(error));
}

Result<std::unique_ptr<TlsSession>> FinishTls(const openssl::Context& context, const Url& url,
                                              int fd, Duration timeout) {
  const Time until = SteadyClock::Instance().Now() + timeout;
  std::unique_ptr<TlsSession> session = TlsSession::Connect(context, fd, url.host);
  if (session == nullptr) return Unavailable("no TLS session to '{}'", url.host);
  for (;;) {
    const TlsSession::Progress progress = session->Handshake();
    if (progress == TlsSession::Progress::kDone) return session;
    if (progress == TlsSession::Progress::kFailed) return Unavailable("TLS: {}", session->error());
    const bool input = progress == TlsSession::Progress::kWantsInput;
    const Duration left = until - SteadyClock::Instance().Now();
    pollfd p{fd, static_cast<short>(input ? POLLIN : POLLOUT), 0};
    if (left <= Duration::zero() ||
        poll(&p, 1, static_cast<int>(left / std::chrono::milliseconds(1)) + 1) == 0)
      return DeadlineExceeded("TLS was not agreed on within {} s", Seconds(timeout));
  }
}

ssize_t Receive(int fd, TlsSession* tls, char* to, size_t room) {
  return tls == nullptr ? recv(fd, to, room, 0) : tls->Read(to, room);
}

ssize_t Send(int fd, TlsSession* tls, std::string_view bytes) {
  if (tls == nullptr) return send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  const iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  return tls->Write(&part, 1);
}

int RaiseSocketLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
}

}  // namespace evenkeel::loadgen
