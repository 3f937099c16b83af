#include "frontends/connection_door.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

constexpr int kBacklog = 4096;
constexpr int kAcceptsATurn = 64;
constexpr int kPauseMs = 100;  // when the process is out of descriptors
constexpr Duration kLogEvery = std::chrono::seconds(10);
// As gRPC sets it on connections that it accepts itself, by the keep-alive's time limit.
constexpr unsigned kUserTimeoutMs = 20'000;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;  // 0: it was no address
};

Address Parse(const std::string& text, int port) {
  Address address;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v6;
  }
  return address;
}

int PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  EK_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  return ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&bound)->sin_port
                                          : reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port);
}

// 0: it is open no more.
ino_t InodeOf(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

}  // namespace

bool IsNumericAddress(const std::string& address) { return Parse(address, 0).size > 0; }

bool OpenSockets::Add(int fd, Time now) {
  if (sockets_.size() >= most_ && now >= sweep_at_) {
    std::erase_if(sockets_, [](const Socket& one) { return InodeOf(one.fd) != one.inode; });
    sweep_at_ = now + kSweepEvery;
  }
  if (sockets_.size() >= most_) return false;
  sockets_.push_back({fd, InodeOf(fd)});
  return true;
}

Result<std::unique_ptr<ConnectionDoor>> ConnectionDoor::Listen(const std::string& address, int port,
                                                               int most) {
  const Address at = Parse(address, port);
  if (at.size == 0)
    return InvalidArgument("address '{}': expected a numeric IPv4 or IPv6 address", address);
  const int fd = ::socket(at.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Internal("socket: {}", std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&at.storage), at.size) != 0 ||
      ::listen(fd, kBacklog) != 0) {
    const int error = errno;
    ::close(fd);
    return Conflict("cannot listen on {} port {}: {}", address, port, std::strerror(error));
  }
  const int stop_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_fd < 0) {
    const int error = errno;
    ::close(fd);
    return Internal("eventfd: {}", std::strerror(error));
  }
  return std::unique_ptr<ConnectionDoor>(new ConnectionDoor(fd, stop_fd, PortOf(fd), most));
}

ConnectionDoor::ConnectionDoor(int fd, int stop_fd, int port, int most)
    : fd_(fd), stop_fd_(stop_fd), port_(port), most_(most), pace_(kLogEvery) {}

ConnectionDoor::~ConnectionDoor() {
  EK_CHECK(::eventfd_write(stop_fd_, 1) == 0);
  if (thread_.joinable()) thread_.join();
  ::close(fd_);
  ::close(stop_fd_);
}

void ConnectionDoor::Open(std::function<void(int fd)> pass) {
  thread_ = std::thread([this, pass = std::move(pass)] { Run(pass); });
}

void ConnectionDoor::Run(const std::function<void(int fd)>& pass) {
  OpenSockets open(static_cast<size_t>(most_));
  bool descriptors = true;
  for (;;) {
    std::array<pollfd, 2> fds = {{{stop_fd_, POLLIN, 0}, {fd_, POLLIN, 0}}};
    const int ready = ::poll(fds.data(), descriptors ? 2 : 1, descriptors ? -1 : kPauseMs);
    EK_CHECK(ready >= 0 || errno == EINTR);
    if (ready > 0 && fds[0].revents != 0) return;
    descriptors = AcceptSome(pass, &open);
  }
}

bool ConnectionDoor::AcceptSome(const std::function<void(int fd)>& pass, OpenSockets* open) {
  for (int i = 0; i < kAcceptsATurn; ++i) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    const Time now = SteadyClock::Instance().Now();
    if (fd < 0) {
      const int why = errno;
      if (why == EINTR || why == ECONNABORTED) continue;
      if (why != EMFILE && why != ENFILE && why != ENOBUFS && why != ENOMEM) return true;
      if (pace_.Take(now))
        LogWarning("port {}: cannot accept connections for now: {}", port_, std::strerror(why));
      return false;
    }
    if (!open->Add(fd, now)) {
      refused_.fetch_add(1, std::memory_order_relaxed);
      ::close(fd);
      if (pace_.Take(now))
        LogWarning("port {}: {} connections are open, another one was closed", port_, most_);
      continue;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof kUserTimeoutMs);
    pass(fd);
  }
  return true;
}

}  // namespace evenkeel
