// The HTTP/1.1 side of the generator: an epoll loop that writes ready-made bytes and reads no more
// than it must.
//
// Two system calls a request (send, recv) and a share of an epoll_wait. A connection carries one
// request at a time, so an open loop uses as many connections as it has requests in flight.
// Thread-safety: single-owner.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "core/format.h"
#include "loadgen/driver_core.h"
#include "loadgen/http_response.h"
#include "loadgen/load.h"

namespace evenkeel::loadgen {
namespace {

constexpr size_t kReadBuffer = 256 << 10;
constexpr int kOpenLoopConnections =
    32;  // opened before the clock starts; more are opened as needed
constexpr Duration kLongestWait = std::chrono::milliseconds(50);  // so that an interrupt is seen
constexpr Duration kPrepareTime = std::chrono::seconds(10);       // for each connection

struct Connection {
  explicit Connection(bool keep_body) : reader(keep_body) {}
  Socket socket;
  std::unique_ptr<TlsSession> tls;  // over the socket; null: plain
  HttpResponseReader reader;
  std::unique_ptr<TokenStream> tokens;  // of the present answer, where the plan has streams
  Duration received{};                  // when the bytes came that are being read
  InFlight request;
  size_t written = 0;       // bytes of the request already handed to the kernel
  uint32_t generation = 0;  // changes with each request and each socket, so that stale events and
                            // timeouts are told apart
  bool busy = false;
  bool connecting = false;
  bool agreeing = false;     // on TLS
  bool wants_write = false;  // registered for EPOLLOUT
};

class HttpDriver final : public Driver {
 public:
  HttpDriver(const LoadPlan& plan, Part part)
      : plan_(plan), part_(part), epoll_(epoll_create1(EPOLL_CLOEXEC)), buffer_(kReadBuffer) {}

  Status Prepare() override;
  DriverResult Run(DriverContext context) override;

 private:
  struct Expiry {
    size_t slot;
    uint32_t generation;
    Duration at;
  };

  Connection& AddConnection();
  size_t TakeSlot();
  void Fill(Duration now);
  void Start(size_t slot, const InFlight& request);
  void Write(size_t slot);
  void OnEvent(const epoll_event& event);
  void OnReadable(size_t slot);
  bool ReadSome(size_t slot);
  void Agree(size_t slot);
  void WatchWritable(size_t slot, bool on);
  void OnConnected(size_t slot);
  void Complete(size_t slot);
  void Fail(size_t slot, NoAnswer why);
  void Free(size_t slot);
  void Disconnect(size_t slot);
  void Register(size_t slot, int operation, uint32_t events);
  bool Open(size_t slot);
  Duration ExpireUntil(Duration now);
  void Wait(Duration until);

  const LoadPlan& plan_;
  const Part part_;
  Socket epoll_;
  std::vector<char> buffer_;
  std::deque<Connection> connections_;  // a deque: elements stay where they are
  std::vector<size_t> free_;            // last used first: the open ones
  std::deque<Expiry> expiries_;         // in order of time, because the timeout is the same for all
  DriverCore* core_ = nullptr;
};

void HttpDriver::Register(size_t slot, int operation, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(connections_[slot].socket.fd()) << 32 | slot;
  epoll_ctl(epoll_.fd(), operation, connections_[slot].socket.fd(), &event);
}

bool HttpDriver::Open(size_t slot) {
  Connection& c = connections_[slot];
  Result<Socket> socket = StartConnect(plan_.endpoint);
  if (!socket.ok()) return false;
  c.socket = std::move(*socket);
  c.connecting = c.wants_write = true;
  Register(slot, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
  return true;
}

Status HttpDriver::Prepare() {
  int wanted = 0;
  for (const Stage& stage : plan_.stages) {
    const int share = (stage.concurrency + part_.count - 1) / part_.count;
    wanted =
        std::max(wanted, stage.concurrency > 0 ? share : std::min(kOpenLoopConnections, plan_.cap));
  }
  for (int i = 0; i < wanted; ++i) {
    AddConnection();
    const auto slot = static_cast<size_t>(i);
    if (!Open(slot))
      return Unavailable("cannot open {} connections to {}", wanted, plan_.url.Authority());
    EK_RETURN_IF_ERROR(
        FinishConnect(connections_[slot].socket.fd(), std::min(plan_.timeout, kPrepareTime))
            .Annotate(plan_.url.Authority()));
    Connection& c = connections_[slot];
    if (plan_.tls != nullptr) {
      Result<std::unique_ptr<TlsSession>> tls =
          FinishTls(plan_.tls, plan_.url, c.socket.fd(), kPrepareTime);
      if (!tls.ok()) return tls.status().Annotate(plan_.url.Authority());
      c.tls = std::move(*tls);
    }
    c.connecting = false;
    WatchWritable(slot, false);
    free_.push_back(slot);
  }
  return Status::Ok();
}

Connection& HttpDriver::AddConnection() {
  Connection& c = connections_.emplace_back(plan_.check_answers);
  if (plan_.streamed) {
    c.reader.HandOn([&c](std::string_view piece) {
      if (c.tokens != nullptr) c.tokens->Feed(piece, c.received);
    });
  }
  return c;
}

size_t HttpDriver::TakeSlot() {
  if (free_.empty()) {
    AddConnection();
    return connections_.size() - 1;
  }
  const size_t slot = free_.back();
  free_.pop_back();
  return slot;
}

void HttpDriver::Fill(Duration now) {
  while (const std::optional<InFlight> request = core_->Take(now)) Start(TakeSlot(), *request);
}

void HttpDriver::Start(size_t slot, const InFlight& request) {
  Connection& c = connections_[slot];
  c.request = request;
  c.written = 0;
  c.busy = true;
  ++c.generation;
  c.reader.Reset();
  if (plan_.streamed) c.tokens = std::make_unique<TokenStream>();
  expiries_.push_back({slot, c.generation, request.sent + plan_.timeout});
  if (c.socket.open()) {
    Write(slot);
  } else if (!Open(slot)) {
    Fail(slot, NoAnswer::kConnect);
  }
}

void HttpDriver::Write(size_t slot) {
  Connection& c = connections_[slot];
  const std::string& bytes = core_->request(c.request).bytes;
  while (c.written < bytes.size()) {
    const ssize_t n = Send(c.socket.fd(), c.tls.get(), std::string_view(bytes).substr(c.written));
    if (n > 0) {
      c.written += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      WatchWritable(slot, true);
      return;
    } else if (errno != EINTR) {
      // The server may have answered (say 413) before it stopped reading. The slot may carry another request after that.
      const uint32_t generation = c.generation;
      OnReadable(slot);
      if (c.busy && c.generation == generation) Fail(slot, NoAnswer::kClosed);
      return;
    }
  }
  WatchWritable(slot, false);
}

void HttpDriver::WatchWritable(size_t slot, bool on) {
  Connection& c = connections_[slot];
  if (std::exchange(c.wants_write, on) == on) return;
  Register(slot, EPOLL_CTL_MOD, on ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void HttpDriver::Agree(size_t slot) {
  Connection& c = connections_[slot];
  switch (c.tls->Handshake()) {
    case TlsSession::Progress::kWantsInput: return WatchWritable(slot, false);
    case TlsSession::Progress::kWantsOutput: return WatchWritable(slot, true);
    case TlsSession::Progress::kFailed: return Fail(slot, NoAnswer::kConnect);
    case TlsSession::Progress::kDone: break;
  }
  c.agreeing = false;
  Write(slot);
}

void HttpDriver::OnConnected(size_t slot) {
  Connection& c = connections_[slot];
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(c.socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return Fail(slot, NoAnswer::kConnect);
  c.connecting = false;
  if (plan_.tls != nullptr) {
    c.tls = TlsSession::Connect(plan_.tls, c.socket.fd(), plan_.url.host);
    if (c.tls == nullptr) return Fail(slot, NoAnswer::kConnect);
    c.agreeing = true;
    return Agree(slot);
  }
  Write(slot);
}

void HttpDriver::OnReadable(size_t slot) {
  while (ReadSome(slot)) continue;
}

// False: what came has been read. (TLS may hold more than the socket says.)
bool HttpDriver::ReadSome(size_t slot) {
  Connection& c = connections_[slot];
  const ssize_t n = Receive(c.socket.fd(), c.tls.get(), buffer_.data(), buffer_.size());
  if (n < 0 && errno == EINTR) return true;
  if (n < 0 && errno == EAGAIN) return false;
  // Whatever comes on an idle connection (its end, a 408) makes it useless.
  if (!c.busy) {
    Disconnect(slot);
    return false;
  }
  auto progress = HttpResponseReader::Progress::kMore;
  std::string_view bytes;
  if (n > 0) {
    bytes = {buffer_.data(), static_cast<size_t>(n)};
    c.received = core_->Now();
    const uint64_t before = c.tokens != nullptr ? c.tokens->seen() : 0;
    progress = c.reader.Feed(&bytes);
    if (c.tokens != nullptr && c.tokens->seen() > before)
      core_->TokensArrived(c.request, c.received, c.tokens->seen() - before);
  } else {
    progress = n == 0 ? c.reader.Ended() : HttpResponseReader::Progress::kMore;
    if (progress != HttpResponseReader::Progress::kDone) {
      Fail(slot, NoAnswer::kClosed);
      return false;
    }
    Disconnect(slot);
  }
  if (progress == HttpResponseReader::Progress::kMalformed) {
    Fail(slot, NoAnswer::kMalformed);
    return false;
  }
  if (progress == HttpResponseReader::Progress::kMore) return c.tls != nullptr && !c.tls->emptied();
  // Bytes after the answer, or an answer before the request was written: the next request would be
  // out of step.
  if (!bytes.empty() || c.reader.close() || c.wants_write) Disconnect(slot);
  Complete(slot);
  return false;
}

void HttpDriver::Complete(size_t slot) {
  Connection& c = connections_[slot];
  const Duration now = core_->Now();
  const int status = c.reader.status();
  const bool good = status >= 200 && status < 300;
  if (good && c.tokens != nullptr && c.tokens->complete()) {
    core_->AnsweredStream(c.request, now, *c.tokens);
  } else if (good && c.tokens != nullptr) {
    const std::string& why = c.tokens->error();
    core_->Error(c.request, now, "stream", why.empty() ? "it ended without [DONE]" : why);
  } else if (good) {
    core_->Answered(c.request, now, c.reader.body(), Duration(c.reader.compute_ns()));
  } else {
    core_->Error(c.request, now, std::to_string(status), c.reader.body());
  }
  Free(slot);
  Fill(now);
}

void HttpDriver::Fail(size_t slot, NoAnswer why) {
  Connection& c = connections_[slot];
  const Duration now = core_->Now();
  core_->Unanswered(c.request, now, why);
  Disconnect(slot);
  Free(slot);
  // Not Fill(): a server that fails at once would recurse; the loop refills.
}

void HttpDriver::Free(size_t slot) {
  Connection& c = connections_[slot];
  c.busy = false;
  ++c.generation;
  free_.push_back(slot);
}

void HttpDriver::Disconnect(size_t slot) {
  Connection& c = connections_[slot];
  c.tls.reset();
  c.socket.Close();
  c.connecting = c.agreeing = c.wants_write = false;
}

void HttpDriver::OnEvent(const epoll_event& event) {
  const size_t slot = event.data.u64 & 0xffffffffu;
  Connection& c = connections_[slot];
  // The socket that this event was for may have been closed by an earlier event of the same round.
  if (!c.socket.open() || static_cast<uint64_t>(c.socket.fd()) != event.data.u64 >> 32) return;
  if (c.connecting) return OnConnected(slot);
  if (c.agreeing) return Agree(slot);
  if (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) OnReadable(slot);
  if ((event.events & EPOLLOUT) && c.busy && c.socket.open() && c.wants_write) Write(slot);
}

// Gives up on requests past their timeout; returns when to look again.
Duration HttpDriver::ExpireUntil(Duration now) {
  while (!expiries_.empty()) {
    const Expiry& first = expiries_.front();
    const Connection& c = connections_[first.slot];
    const bool waiting = c.busy && c.generation == first.generation;
    if (waiting && first.at > now) return first.at;
    if (waiting) Fail(first.slot, NoAnswer::kTimeout);
    expiries_.pop_front();
  }
  return Duration::max();
}

void HttpDriver::Wait(Duration until) {
  epoll_event events[256];
  const Duration left = std::clamp<Duration>(until - core_->Now(), Duration::zero(), kLongestWait);
  const timespec timeout{0, static_cast<long>(left.count())};
  int n = epoll_pwait2(epoll_.fd(), events, 256, &timeout, nullptr);
  // Kernels before 5.11 wait in milliseconds only.
  if (n < 0 && errno == ENOSYS)
    n = epoll_wait(epoll_.fd(), events, 256,
                   static_cast<int>((left.count() + 999'999) / 1'000'000));
  for (int i = 0; i < n; ++i) OnEvent(events[i]);
}

DriverResult HttpDriver::Run(DriverContext context) {
  DriverCore core(context);
  core_ = &core;
  for (;;) {
    const Duration now = core.Now();
    if (core.interrupted()) {
      core.Stop(now);
      for (size_t slot = 0; slot < connections_.size(); ++slot) {
        if (connections_[slot].busy) Fail(slot, NoAnswer::kInterrupted);
      }
    }
    const Duration expiry = ExpireUntil(now);
    Fill(now);
    if (core.Finished()) break;
    Wait(std::min(expiry, core.NextWake()));
  }
  return core.Finish();
}

}  // namespace

std::unique_ptr<Driver> MakeHttpDriver(const LoadPlan& plan, Part part) {
  return std::make_unique<HttpDriver>(plan, part);
}

}  // namespace evenkeel::loadgen
