#include "net/http_handshake.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "core/log.h"
#include "net/http_loop.h"
#include "net/io_loop.h"
#include "net/tls_context.h"
#include "net/tls_session.h"
#include "net/transport.h"

namespace evenkeel {
namespace {

constexpr Duration kTimeOfTurn = std::chrono::microseconds(500);
constexpr uint32_t kInput = EPOLLIN | EPOLLET;

bool IsLetter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

}  // namespace

class HttpHandshakes::One final : public IoHandler {
 public:
  One(HttpHandshakes* owner, int fd)
      : owner_(owner), fd_(fd), start_(SteadyClock::Instance().Now()) {}

  bool Start() { return io().Add(fd_, kInput, this); }
  void OnIo(uint32_t events) override {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      Close();
    } else {
      owner_->Take(this);
    }
    owner_->loop_->Settle();
  }
  void Step();
  void CheckTime(Time now) {
    if (fd_ >= 0 && now - start_ > owner_->loop_->limits().request_time) Close();
  }
  void Close();

  bool ready = false;  // in the owner's list

 private:
  IoLoop& io() { return owner_->loop_->io(); }
  bool Begin();
  void WatchWritable(bool on);
  int Release();

  HttpHandshakes* const owner_;
  int fd_;
  const Time start_;
  bool watching_writable_ = false;
  std::unique_ptr<TlsSession> session_;  // null until the first byte has come
};

void HttpHandshakes::One::Step() {
  if (fd_ < 0 || (session_ == nullptr && !Begin())) return;
  switch (session_->Handshake()) {
    case TlsSession::Progress::kWantsInput: WatchWritable(false); break;
    case TlsSession::Progress::kWantsOutput: WatchWritable(true); break;
    case TlsSession::Progress::kFailed:
      LogDebug("TLS handshake: {}", session_->error());
      Close();
      break;
    case TlsSession::Progress::kDone: {
      const int fd = Release();
      owner_->Drop(this);
      owner_->loop_->Secured(Transport(fd, std::move(session_)));
      break;
    }
  }
}

// Looks at the first byte, without taking it. False: there is none yet, or it is not TLS's.
bool HttpHandshakes::One::Begin() {
  char first = 0;
  const ssize_t n = ::recv(fd_, &first, 1, MSG_PEEK);
  if (n < 0 && errno == EAGAIN) return false;
  if (n > 0 && IsLetter(first)) {
    Transport plain(Release());
    owner_->Drop(this);
    owner_->loop_->RefusePlain(std::move(plain));
    return false;
  }
  if (n > 0) session_ = TlsSession::Accept(owner_->loop_->shared().options.tls->Current(), fd_);
  if (session_ == nullptr) Close();
  return session_ != nullptr;
}

void HttpHandshakes::One::WatchWritable(bool on) {
  if (watching_writable_ == on) return;
  watching_writable_ = on;
  io().Modify(fd_, on ? kInput | EPOLLOUT : kInput, this);
}

int HttpHandshakes::One::Release() {
  io().Remove(fd_, this);
  return std::exchange(fd_, -1);
}

void HttpHandshakes::One::Close() {
  if (fd_ < 0) return;
  const int fd = Release();
  // What the client has sent is taken off the socket first: closed over it, the alert would not arrive.
  char rest[16 * 1024];
  ::shutdown(fd, SHUT_WR);
  for (int i = 0; i < 4 && ::recv(fd, rest, sizeof rest, 0) > 0; ++i) continue;
  ::close(fd);
  owner_->Drop(this);
  owner_->loop_->HandshakeLost();
}

HttpHandshakes::~HttpHandshakes() { EndOfTurn(); }

void HttpHandshakes::Open(int fd) {
  // Those that take their time make room for those that do not.
  if (all_.size() >= loop_->limits().handshakes) all_.front()->Close();
  auto* const one = new One(this, fd);
  all_.push_back(one);
  if (!one->Start()) one->Close();
}

void HttpHandshakes::Take(One* one) {
  if (one->ready) return;
  if (ready_.empty() && spent_ < kTimeOfTurn) return Step(one);
  one->ready = true;
  ready_.push_back(one);
  StepLater();
}

void HttpHandshakes::Step(One* one) {
  const Time begin = SteadyClock::Instance().Now();
  one->Step();
  spent_ += SteadyClock::Instance().Now() - begin;
}

void HttpHandshakes::StepLater() {
  if (std::exchange(posted_, true)) return;
  loop_->io().Post([this, keep = loop_->shared_from_this()] {
    posted_ = false;
    StepSome();
    loop_->Settle();
  });
}

void HttpHandshakes::StepSome() {
  while (!ready_.empty() && spent_ < kTimeOfTurn) {
    One* const one = ready_.front();
    ready_.pop_front();
    one->ready = false;
    Step(one);
  }
  if (!ready_.empty()) StepLater();
}

// It has let go of its socket; freed at the end of the turn.
void HttpHandshakes::Drop(One* one) {
  std::erase(all_, one);
  if (one->ready) std::erase(ready_, one);
  dead_.push_back(one);
}

void HttpHandshakes::CheckTime(Time now) {
  const std::vector<One*> all(all_.begin(), all_.end());
  for (One* one : all) one->CheckTime(now);
}

void HttpHandshakes::CloseAll() {
  const std::vector<One*> all(all_.begin(), all_.end());
  for (One* one : all) one->Close();
}

void HttpHandshakes::EndOfTurn() {
  spent_ = Duration::zero();
  for (One* one : dead_) delete one;
  dead_.clear();
}

}  // namespace evenkeel
