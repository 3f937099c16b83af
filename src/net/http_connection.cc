#include "net/http_connection.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/format.h"
#include "net/host_check.h"

// Input and time. Output is in http_output.cc.
namespace evenkeel {
namespace {

constexpr int kReadsPerTurn = 32;          // then the other connections have their turn
constexpr size_t kMinRead = 2048;          // a block with less room than this is left
constexpr size_t kCostlyBody = 64 * 1024;  // a larger one is not read before its head is admitted
constexpr size_t kUnfolderBytes = 48 * 1024;  // what zlib keeps for a body
constexpr uint32_t kInput = EPOLLIN | EPOLLRDHUP | EPOLLET;

// A body that takes memory or time before the handler sees the request.
bool IsCostly(const HttpHead& head) {
  return head.chunked || head.length > kCostlyBody || !head.Find("content-encoding").empty();
}

std::optional<Coding> CodingOf(std::string_view name) {
  if (name.empty() || EqualsNoCase(name, "identity")) return Coding::kIdentity;
  if (EqualsNoCase(name, "gzip") || EqualsNoCase(name, "x-gzip")) return Coding::kGzip;
  if (EqualsNoCase(name, "deflate")) return Coding::kDeflate;
  return std::nullopt;
}

}  // namespace

HttpConnection::HttpConnection(HttpLoop* loop, Transport transport)
    : loop_(loop), transport_(std::move(transport)) {
  phase_start_ = write_progress_ = SteadyClock::Instance().Now();
}

HttpConnection::~HttpConnection() = default;

bool HttpConnection::Start() { return loop_->io().Add(transport_.fd(), kInput, this); }

void HttpConnection::WatchWritable(bool on) {
  if (watching_writable_ == on) return;
  watching_writable_ = on;
  loop_->io().Modify(transport_.fd(), on ? kInput | EPOLLOUT : kInput, this);
}

void HttpConnection::OnIo(uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    Close();
    loop_->Settle();
    return;
  }
  if ((events & EPOLLOUT) != 0 || transport_.write_needs_input()) Flush();
  if ((events & EPOLLOUT) != 0 && transport_.read_needs_output()) events |= EPOLLIN;
  if (!closed_ && (events & (EPOLLIN | EPOLLRDHUP)) != 0) {
    readable_ = true;
    if ((events & EPOLLRDHUP) != 0) {
      peer_ending_ = true;
      // Nothing more is read for now, so this is when to notice that the client left.
      if (state_ == State::kHead && Paused()) CancelWork();
    }
    budget_ = kReadsPerTurn;
    ReadAndHandle();
  }
  loop_->Settle();
}

void HttpConnection::ResumeReading() {
  budget_ = kReadsPerTurn;
  ReadAndHandle();
}

void HttpConnection::ReadAtOnce() {
  readable_ = true;
  ResumeReading();
}

void HttpConnection::ReadAndHandle() {
  for (;;) {
    HandleInput();
    if (closed_ || !readable_ || peer_ended_ || state_ == State::kUnfold ||
        (state_ == State::kHead && Paused()))
      return;
    if (budget_ <= 0) {
      loop_->ReadLater(this);
      return;
    }
    --budget_;
    if (!ReadSome()) return;
  }
}

// One recv(). False: nothing came.
bool HttpConnection::ReadSome() {
  char scratch[4096];
  char* to = scratch;
  size_t room = sizeof scratch;
  const bool large = state_ == State::kBody && incoming_->large_body != nullptr;
  if (large) {
    to = reinterpret_cast<char*>(incoming_->large_body.get()) + body_have_;
    room = incoming_->head().length - body_have_;
  } else if (state_ != State::kDrain) {
    MakeRoom();
    to = block_->data.get() + end_;
    room = block_->size - end_;
  }
  const ssize_t n = transport_.Read(to, room);
  if (n == 0) {
    OnPeerEnd();
    return false;
  }
  if (n < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN) {
      readable_ = false;
      if (transport_.read_needs_output()) WatchWritable(true);
    } else {
      Close();
    }
    return false;
  }
  const auto got = static_cast<size_t>(n);
  // Where the socket is empty, what comes later raises a new event. But the end, if
  // already there, does not.
  if (transport_.Emptied(got, room) && !peer_ending_) readable_ = false;
  continue_due_ = false;  // it does not wait for that
  if (large) {
    body_have_ += got;
  } else if (state_ != State::kDrain) {
    end_ += got;
  }
  return true;
}

void HttpConnection::HandleInput() {
  bool more = true;
  while (more && !closed_) {
    switch (state_) {
      case State::kHead: more = !Paused() && ReadHead(); break;
      case State::kBody: more = TakeBody(); break;
      case State::kChunks: more = TakeChunks(); break;
      case State::kUnfold: more = false; break;
      case State::kDrain:
        DropBlock();
        more = false;
        break;
    }
  }
}

bool HttpConnection::Paused() const {
  const HttpLimits& limits = loop_->limits();
  return last_request_ || queue_.size() >= static_cast<size_t>(limits.pipelined) ||
         out_bytes_ + answered_bytes_ > limits.unsent_bytes;
}

bool HttpConnection::ReadHead() {
  if (head_scanned_ == 0) {
    // Some clients send a line end after a body.
    while (!Unread().empty() && (Unread().front() == '\r' || Unread().front() == '\n')) Consume(1);
  }
  const std::string_view text = Unread();
  if (text.empty()) {
    DropBlock();
    return false;
  }
  if (phase_is_idle_) {
    phase_is_idle_ = false;
    phase_start_ = loop_->io().turn_time();
  }
  const size_t limit = loop_->limits().head_bytes;
  const bool letter = (text[0] >= 'A' && text[0] <= 'Z') || (text[0] >= 'a' && text[0] <= 'z');
  const size_t size = letter ? FindHeadEnd(text, &head_scanned_) : 0;
  if (!letter) {
    Refuse({400, "malformed request: expected an HTTP method"});
  } else if (size > limit || (size == 0 && text.size() >= limit)) {
    Refuse({431, fmt::format("the request's head is larger than {} bytes", limit)});
  }
  if (size == 0 && state_ == State::kHead && HasBareLineFeed(text)) Refuse({400, kBareLineFeed});
  if (size == 0 || state_ != State::kHead) return false;
  head_scanned_ = 0;
  incoming_ = loop_->NewCall();
  incoming_->block = block_;
  ++block_->refs;
  const HttpError error =
      ParseHttpHead(text.substr(0, size), loop_->limits().fields, &incoming_->mutable_head());
  Consume(size);
  incoming_->set_received(SteadyClock::Instance().Now());
  if (!error.ok()) {
    ForgetHead(&incoming_->mutable_head());
    Refuse(error);
    return false;
  }
  return StartBody();
}

// Decides where the body goes, before any of it is read. False: refused.
bool HttpConnection::StartBody() {
  const HttpHead& head = incoming_->head();
  const HttpShared& shared = loop_->shared();
  HttpError error = CheckHostAndOrigin(head, shared.check_host, shared.options.allowed_hosts);
  if (error.ok() && !CodingOf(head.Find("content-encoding"))) {
    error = {415, "expected Content-Encoding gzip, deflate or identity"};
  }
  const size_t limit = loop_->limits().body_bytes;
  if (error.ok() && head.has_length && head.length > limit) {
    error = {413, fmt::format("the body is {} bytes, at most {} are allowed", head.length, limit)};
  }
  if (error.ok() && IsCostly(head)) {
    if (const Status status = shared.handler->Admit(head); !status.ok())
      error = {InfoOf(status.code()).http, status.message()};
  }
  if (!error.ok()) {
    Refuse(error);
    return false;
  }
  body_have_ = 0;
  if (!head.chunked && head.length == 0) return Complete();
  if (head.expect_continue && Unread().empty()) {
    continue_due_ = true;
    loop_->Touch(this);
  }
  if (head.chunked) {
    chunks_.emplace(limit);
    state_ = State::kChunks;
    return true;
  }
  state_ = State::kBody;
  if (head.length > block_->size - begin_) {
    if (!HoldBody(head.length)) return false;
    incoming_->large_body = std::make_unique_for_overwrite<std::byte[]>(head.length);
    const std::string_view have =
        Unread();  // less than the length, for it is longer than the block
    std::memcpy(incoming_->large_body.get(), have.data(), have.size());
    body_have_ = have.size();
    Consume(have.size());
  }
  return true;
}

// False: refused, for all bodies together would take too much memory.
bool HttpConnection::HoldBody(size_t bytes) {
  if (loop_->Hold(incoming_, bytes)) return true;
  Refuse({503, "too many large bodies at once"});
  return false;
}

bool HttpConnection::TakeBody() {
  const size_t length = incoming_->head().length;
  if (incoming_->large_body != nullptr) {
    if (body_have_ < length) return false;
    incoming_->set_body({incoming_->large_body.get(), length});
    return Complete();
  }
  body_have_ = std::min(Unread().size(), length);
  if (body_have_ < length) return false;
  incoming_->set_body(std::as_bytes(std::span(Unread().substr(0, length))));
  Consume(length);
  return Complete();
}

bool HttpConnection::TakeChunks() {
  HttpError error;
  const size_t used = chunks_->Feed(Unread(), &incoming_->chunked_body, &error);
  body_have_ += used;
  Consume(used);
  if (error.ok() && !HoldBody(used)) return false;
  if (!error.ok()) {
    Refuse(error);
    return false;
  }
  if (!chunks_->done()) return false;
  chunks_.reset();
  incoming_->set_body(std::as_bytes(std::span(incoming_->chunked_body)));
  return Complete();
}

// The request has arrived as it was sent. True: it went to the handler.
bool HttpConnection::Complete() {
  const Coding coding = *CodingOf(incoming_->head().Find("content-encoding"));
  if (coding == Coding::kIdentity || incoming_->body().empty()) return Dispatch();
  if (!HoldBody(kUnfolderBytes)) return false;
  unfolder_ = std::make_unique<Unfolder>(incoming_->body(), coding, loop_->limits().body_bytes);
  state_ = State::kUnfold;
  loop_->Unfold(this);
  return state_ == State::kHead;
}

bool HttpConnection::UnfoldStep() {
  const size_t before = unfolder_->size();
  const Result<bool> done = unfolder_->Step();
  if (!done.ok()) {
    Refuse({InfoOf(done.status().code()).http, done.status().message()});
    return false;
  }
  if (!HoldBody(unfolder_->size() - before)) return false;
  if (!*done) return true;
  incoming_->set_body(unfolder_->plain());
  incoming_->unfolded_body = unfolder_->Take();
  unfolder_.reset();
  incoming_->large_body.reset();
  incoming_->chunked_body = {};
  Dispatch();
  return false;
}

// The request is complete: it joins the queue and the handler sees it.
bool HttpConnection::Dispatch() {
  ServerExchange* call = std::exchange(incoming_, nullptr);
  call->connection = this;
  queue_.push_back(call);
  state_ = State::kHead;
  phase_is_idle_ = true;
  phase_start_ = loop_->io().turn_time();
  if (!call->head().keep_alive) last_request_ = true;
  loop_->CountOut();
  loop_->shared().requests.fetch_add(1, std::memory_order_relaxed);
  loop_->shared().handler->Handle(*call);
  if (call->responded()) answered_bytes_ += call->response.body.size();
  return true;
}

void HttpConnection::Consume(size_t n) { begin_ += n; }

// REQUIRES: a block is only left when what is unread in it may move, that is, outside of a body
// that is kept in place.
void HttpConnection::MakeRoom() {
  if (block_ == nullptr) {
    block_ = loop_->NewBlock();
    begin_ = end_ = 0;
    return;
  }
  const bool in_place = state_ == State::kBody;
  if (in_place || block_->size - end_ >= kMinRead) return;
  ReadBlock* next = loop_->NewBlock();
  const std::string_view rest = Unread();
  std::memcpy(next->data.get(), rest.data(), rest.size());
  loop_->Unref(block_);
  block_ = next;
  begin_ = 0;
  end_ = rest.size();
}

void HttpConnection::DropBlock() {
  if (block_ != nullptr) loop_->Unref(std::exchange(block_, nullptr));
  begin_ = end_ = 0;
}

void HttpConnection::OnPeerEnd() {
  peer_ended_ = true;
  readable_ = false;
  linger_ = false;  // nothing more can come
  const bool inside = incoming_ != nullptr || (state_ == State::kHead && !Unread().empty());
  if (inside) Refuse({400, "the connection ended inside the request"});
  last_request_ = true;
  CancelWork();
  loop_->Touch(this);
}

void HttpConnection::CancelWork() {
  for (ServerExchange* call : queue_) {
    if (call->home || call->responded() || call->gone()) continue;
    loop_->shared().cancelled.fetch_add(1, std::memory_order_relaxed);
    call->Cancel();
  }
}

void HttpConnection::CheckTime(Time now) {
  const HttpLimits& limits = loop_->limits();
  if (closed_) return;
  const Duration since = now - phase_start_;
  if ((lingering_ && since > limits.linger_time) ||
      (out_bytes_ > 0 && now - write_progress_ > limits.write_time)) {
    Close();
    return;
  }
  Beat(now);
  if (last_request_ || state_ == State::kDrain || state_ == State::kUnfold) return;
  if (continue_due_ || (state_ == State::kHead && Paused())) {
    if (continue_due_ || !phase_is_idle_) phase_start_ = now;
  } else if (incoming_ != nullptr || !phase_is_idle_) {
    if (since <= limits.request_time) return;
    const std::string came = state_ == State::kHead
                                 ? "its head is not complete"
                                 : fmt::format("{} bytes of its body came", body_have_);
    Refuse({408, fmt::format("the request did not arrive within {:g} s: {}",
                             Seconds(limits.request_time), came)});
  } else if (queue_.empty() && out_bytes_ == 0 && since > limits.idle_time) {
    Close();
  }
}

void HttpConnection::CloseWhenIdle() {
  if (queue_.empty() && incoming_ == nullptr && out_bytes_ == 0 && Unread().empty()) Close();
}

void HttpConnection::Close() {
  if (closed_) return;
  closed_ = true;
  loop_->io().Remove(transport_.fd(), this);
  transport_.Close();
  DropBlock();
  unfolder_.reset();
  if (incoming_ != nullptr) loop_->Recycle(std::exchange(incoming_, nullptr));
  CancelWork();
  for (ServerExchange* call : queue_) {
    call->connection = nullptr;
    // The others are recycled when their answer comes home.
    if (call->home) loop_->Recycle(call);
  }
  queue_.clear();
  loop_->Forget(this);
}

}  // namespace evenkeel
