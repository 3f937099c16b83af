#include "cluster/link/hello_gate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <list>
#include <utility>

#include "cluster/link/client_hello.h"
#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "core/log_pace.h"
#include "net/io_loop.h"

namespace evenkeel::link {
namespace {

constexpr int kBacklog = 256;
constexpr int kAcceptsATurn = 64;
// A hello and the headers of its records, also when they are many.
constexpr size_t kMaxRead = 2 * kMaxHelloBytes;
constexpr Duration kAcceptPause = std::chrono::milliseconds(100);

Result<int> OpenListener(const HelloGateOptions& options) {
  sockaddr_storage address{};
  socklen_t size = 0;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&address);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address);
  if (::inet_pton(AF_INET, options.address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(options.port);
    size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, options.address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(options.port);
    size = sizeof *v6;
  } else {
    return InvalidArgument("address '{}' for nodes: expected a numeric IPv4 or IPv6 address",
                           options.address);
  }
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Internal("socket: {}", std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
      ::listen(fd, kBacklog) == 0)
    return fd;
  const int error = errno;
  ::close(fd);
  return Unavailable("cannot listen on {}:{} for nodes: {}", options.address, options.port,
                     std::strerror(error));
}

uint16_t PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  EK_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
  return ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&bound)->sin_port
                                          : reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port);
}

}  // namespace

// All but the constructor is the loop's. Callbacks hold it weakly: they may be on their way when the gate goes.
class HelloGate::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(int fd, const HelloGateOptions& options, IoLoop& loop)
      : fd_(fd), options_(options), loop_(loop), port(PortOf(fd)) {}
  ~Impl() { ::close(fd_); }

  void Open(Pass pass) {
    loop_.Post([self = shared_from_this(), pass = std::move(pass)]() mutable {
      self->pass_ = std::move(pass);
      const std::weak_ptr<Impl> weak = self;
      self->alarm_ = self->loop_.MakeAlarm([weak] {
        if (const auto alive = weak.lock()) alive->CheckTime();
      });
      self->Watch();
    });
  }

  IoLoop& loop() { return loop_; }
  void Stop() {
    if (stopped_) return;
    stopped_ = true;
    if (watched_) loop_.Unwatch(fd_);
    alarm_.reset();
    while (!waiting_.empty()) Drop(waiting_.begin());
    pass_ = nullptr;
  }

 private:
  struct Waiting {
    int fd;
    Time until;
    std::string read;
  };
  using Place = std::list<Waiting>::iterator;

  void Watch() {
    if (stopped_ || watched_) return;
    watched_ = true;
    const std::weak_ptr<Impl> weak = weak_from_this();
    loop_.Watch(fd_, [weak] {
      if (const auto alive = weak.lock()) alive->AcceptSome();
    });
  }

  void AcceptSome() {
    for (int i = 0; i < kAcceptsATurn && !stopped_; ++i) {
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Begin(fd);
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        const int why = errno;
        if (pace_.Take(SteadyClock::Instance().Now()))
          LogWarning("cannot accept connections of nodes for now: {}", std::strerror(why));
        loop_.Unwatch(fd_);
        watched_ = false;
        alarm_->Set(SteadyClock::Instance().Now() + kAcceptPause);
        return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }

  void Begin(int fd) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (waiting_.size() >= options_.most) Drop(waiting_.begin());
    waiting_.push_back({fd, SteadyClock::Instance().Now() + options_.patience, {}});
    const Place place = std::prev(waiting_.end());
    const std::weak_ptr<Impl> weak = weak_from_this();
    loop_.Watch(fd, [weak, place] {
      if (const auto alive = weak.lock()) alive->Read(place);
    });
    if (waiting_.size() == 1) alarm_->Set(place->until);
  }

  void Read(Place place) {
    char bytes[4096];
    const ssize_t n = ::recv(place->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return Drop(place);
    place->read.append(bytes, static_cast<size_t>(n));
    const auto* const data = reinterpret_cast<const uint8_t*>(place->read.data());
    switch (LookAtHello({data, place->read.size()})) {
      case HelloVerdict::kMore:
        if (place->read.size() > kMaxRead) Drop(place);
        return;
      case HelloVerdict::kRefused: return Drop(place);
      case HelloVerdict::kTls13: break;
    }
    loop_.Unwatch(place->fd);
    const Waiting in = std::move(*place);
    waiting_.erase(place);
    pass_(in.fd, in.read);
  }

  void Drop(Place place) {
    loop_.Unwatch(place->fd);
    ::close(place->fd);
    waiting_.erase(place);
  }

  // They came one after the other, so they run out in that order.
  void CheckTime() {
    const Time now = SteadyClock::Instance().Now();
    while (!waiting_.empty() && waiting_.front().until <= now) Drop(waiting_.begin());
    Watch();
    if (!waiting_.empty()) alarm_->Set(waiting_.front().until);
  }

  const int fd_;
  const HelloGateOptions options_;
  IoLoop& loop_;
  bool stopped_ = false;
  bool watched_ = false;
  Pass pass_;
  std::unique_ptr<Alarm> alarm_;
  std::list<Waiting> waiting_;  // the oldest first
  LogPace pace_{std::chrono::seconds(10)};

 public:
  const uint16_t port;
};

Result<std::unique_ptr<HelloGate>> HelloGate::Listen(const HelloGateOptions& options,
                                                     IoLoop& loop) {
  const Result<int> fd = OpenListener(options);
  if (!fd.ok()) return fd.status();
  return std::unique_ptr<HelloGate>(new HelloGate(std::make_shared<Impl>(*fd, options, loop)));
}

HelloGate::HelloGate(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

HelloGate::~HelloGate() {
  if (!impl_->loop().running()) {
    impl_->Stop();
    return;
  }
  // Waited for, so that what `pass` uses may go next. The loop's share goes before that is said: the last one closes the port, which is free then.
  const auto stopped = std::make_shared<std::promise<void>>();
  impl_->loop().Post([impl = impl_, stopped]() mutable {
    impl->Stop();
    impl.reset();
    stopped->set_value();
  });
  stopped->get_future().wait();
}

void HelloGate::Open(Pass pass) { impl_->Open(std::move(pass)); }
uint16_t HelloGate::port() const { return impl_->port; }

}  // namespace evenkeel::link
