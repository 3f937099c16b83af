#include "net/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "core/log_pace.h"
#include "net/http_loop.h"
#include "net/io_loop.h"
#include "net/tls_context.h"

namespace evenkeel {
namespace {

constexpr int kBacklog = 4096;
constexpr int kAcceptsPerTurn = 64;
constexpr Duration kAcceptPause =
    std::chrono::milliseconds(100);  // when the process is out of descriptors

// Kept ready: it must not cost anything when it is needed.
constexpr std::string_view kTooMany =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    "Connection: close\r\nContent-Length: 33\r\n\r\n{\"error\":\"too many connections\"}\n";

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  bool loopback = false;
};

Result<Address> ParseAddress(const std::string& text, uint16_t port) {
  Address out;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    out.size = sizeof *v4;
    out.loopback = (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    out.size = sizeof *v6;
    // 127.0.0.1 as IPv6 stays on the machine, too (access/bind_rule.h lets it go without keys).
    out.loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
                   (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
  } else {
    return InvalidArgument("HTTP address '{}': expected a numeric IPv4 or IPv6 address", text);
  }
  return out;
}

Result<int> OpenListener(const Address& address, const HttpServerOptions& options) {
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Internal("HTTP socket: {}", std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 ||
      ::listen(fd, kBacklog) != 0) {
    const int error = errno;
    ::close(fd);
    return Unavailable("cannot listen on {}:{} for HTTP: {}", options.address, options.port,
                       std::strerror(error));
  }
  return fd;
}

uint16_t PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  EK_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  return ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&bound)->sin_port
                                          : reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port);
}

}  // namespace

// Accepts on the first loop and deals the sockets out. Shared with the loop's callbacks, which may
// be running when it stops.
class HttpServer::Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  Acceptor(int fd, IoLoop* io, std::shared_ptr<HttpShared> shared,
           std::vector<std::shared_ptr<HttpLoop>> loops)
      : fd_(fd), io_(io), shared_(std::move(shared)), loops_(std::move(loops)) {}
  ~Acceptor() { ::close(fd_); }

  void Start() {
    const std::weak_ptr<Acceptor> weak = weak_from_this();
    retry_ = io_->MakeAlarm([weak] {
      if (const auto self = weak.lock()) self->Watch();
    });
    Watch();
  }
  void Stop() {
    stopped_.store(true, std::memory_order_release);
    retry_->Set(kNever);
    io_->Unwatch(fd_);
    // Nobody may connect any more, even while a callback still holds this object.
    ::shutdown(fd_, SHUT_RDWR);
  }
  const std::shared_ptr<HttpShared>& shared() const { return shared_; }

 private:
  void Watch() {
    if (stopped_.load(std::memory_order_acquire)) return;
    io_->Watch(fd_, [self = shared_from_this()] { self->AcceptSome(); });
  }

  void AcceptSome() {
    // Stop() may have come between this watch and the one before.
    if (stopped_.load(std::memory_order_acquire)) return io_->Unwatch(fd_);
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Deal(fd);
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        const int why = errno;
        if (pace_.Take(SteadyClock::Instance().Now()))
          LogWarning("HTTP: cannot accept connections for now: {}", std::strerror(why));
        io_->Unwatch(fd_);
        retry_->Set(SteadyClock::Instance().Now() + kAcceptPause);
        return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }

  void Deal(int fd) {
    shared_->accepted.fetch_add(1, std::memory_order_relaxed);
    if (shared_->open.fetch_add(1, std::memory_order_relaxed) >=
        shared_->options.limits.connections) {
      shared_->open.fetch_sub(1, std::memory_order_relaxed);
      shared_->refused.fetch_add(1, std::memory_order_relaxed);
      // A client of TLS would not understand it, and a handshake is what there is no room for.
      if (shared_->options.tls == nullptr) {
        [[maybe_unused]] const ssize_t n =
            ::send(fd, kTooMany.data(), kTooMany.size(), MSG_NOSIGNAL);
      }
      ::close(fd);
      return;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // The kernel takes megabytes from us before it says that nobody reads them.
    const auto patience = static_cast<unsigned>(
        std::chrono::ceil<std::chrono::milliseconds>(shared_->options.limits.write_time).count());
    ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof patience);
    loops_[next_]->Adopt(fd);
    next_ = (next_ + 1) % loops_.size();
  }

  const int fd_;
  IoLoop* const io_;
  const std::shared_ptr<HttpShared> shared_;
  const std::vector<std::shared_ptr<HttpLoop>> loops_;
  std::unique_ptr<Alarm> retry_;
  std::atomic<bool> stopped_{false};  // set by any thread, read on the loop's
  size_t next_ = 0;
  LogPace pace_{std::chrono::seconds(10)};
};

Result<std::unique_ptr<HttpServer>> HttpServer::Listen(const HttpServerOptions& options,
                                                       HttpHandler* handler,
                                                       std::vector<IoLoop*> loops) {
  EK_CHECK(!loops.empty());
  Result<Address> address = ParseAddress(options.address, options.port);
  if (!address.ok()) return address.status();
  Result<int> fd = OpenListener(*address, options);
  if (!fd.ok()) return fd.status();
  auto shared = std::make_shared<HttpShared>();
  shared->options = options;
  shared->handler = handler;
  shared->check_host = address->loopback || !options.allowed_hosts.empty();
  auto server = std::unique_ptr<HttpServer>(new HttpServer(options.address, PortOf(*fd)));
  for (IoLoop* io : loops) {
    server->loops_.push_back(std::make_shared<HttpLoop>(io, shared));
    server->loops_.back()->Install();
  }
  server->acceptor_ = std::make_shared<Acceptor>(*fd, loops.front(), shared, server->loops_);
  server->acceptor_->Start();
  return server;
}

HttpServer::HttpServer(std::string address, uint16_t port)
    : address_(std::move(address)), port_(port) {}

HttpServer::~HttpServer() {
  acceptor_->Stop();
  for (const auto& loop : loops_) loop->CloseAllAndWait();
}

void HttpServer::Drain() {
  acceptor_->shared()->draining.store(true, std::memory_order_relaxed);
  acceptor_->Stop();
  for (const auto& loop : loops_) loop->Drain();
}

HttpServerStats HttpServer::stats() const {
  const HttpShared& s = *acceptor_->shared();
  HttpServerStats out;
  out.accepted = s.accepted.load(std::memory_order_relaxed);
  out.refused = s.refused.load(std::memory_order_relaxed);
  out.requests = s.requests.load(std::memory_order_relaxed);
  out.cancelled = s.cancelled.load(std::memory_order_relaxed);
  out.lost_handshakes = s.lost_handshakes.load(std::memory_order_relaxed);
  out.open = s.open.load(std::memory_order_relaxed);
  return out;
}

}  // namespace evenkeel
