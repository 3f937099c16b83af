#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "core/format.h"
#include "net/http_connection.h"

// The output side of HttpConnection.
namespace evenkeel {
namespace {

constexpr size_t kOwnSegment = 32 * 1024;  // bodies from this size are sent from where they are
constexpr size_t kKeepBuffer = 8 * 1024;   // capacity an idle connection keeps
constexpr size_t kIovecs = 16;

std::string_view ReasonOf(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 499: return "Client Closed Request";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

void AppendNumber(size_t n, std::string* out) {
  std::array<char, 20> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), n).ptr;
  out->append(text.data(), end);
}

}  // namespace

// A head that was not there, or did not parse, says nothing about how to answer.
void HttpConnection::ForgetHead(HttpHead* head) {
  head->fields.clear();
  head->method = HttpMethod::kGet;
  head->target = head->path = head->query = {};
}

// Answers the request being read (or the bytes that are none) after those before it, then ends the
// connection.
void HttpConnection::Refuse(const HttpError& error) {
  const bool head_read = incoming_ != nullptr;
  ServerExchange* call = head_read ? std::exchange(incoming_, nullptr) : loop_->NewCall();
  HttpHead& head = call->mutable_head();
  if (!head_read) ForgetHead(&head);
  head.http11 = true;
  head.keep_alive = false;
  call->response = loop_->shared().handler->Refusal(head.path, error.status, error.message);
  call->home = true;
  call->connection = this;
  queue_.push_back(call);
  last_request_ = true;
  linger_ = !peer_ended_;
  state_ = State::kDrain;
  continue_due_ = false;
  chunks_.reset();
  unfolder_.reset();
  loop_->Touch(this);
}

// The last segment if it may grow, else a new one.
std::string& HttpConnection::OpenSegment() {
  if (!out_open_ || out_.empty() || out_.back().size() > 4 * kOwnSegment) {
    out_.emplace_back();
    out_open_ = true;
  }
  return out_.back();
}

void HttpConnection::Continue() {
  if (!continue_due_ || !queue_.empty()) return;
  continue_due_ = false;
  phase_start_ = loop_->io().turn_time();
  AppendText("HTTP/1.1 100 Continue\r\n\r\n");
}

void HttpConnection::AppendText(std::string_view text) {
  if (out_bytes_ == 0) write_progress_ = loop_->io().turn_time();
  OpenSegment().append(text);
  out_bytes_ += text.size();
}

// What every answer's head says. `framing` is the field that tells where the body ends, or nothing.
void HttpConnection::AppendHead(const ServerExchange& call, bool keep, std::string_view framing) {
  const HttpResponse& response = call.response;
  const HttpHead& head = call.head();
  if (out_bytes_ == 0) write_progress_ = loop_->io().turn_time();
  std::string& out = OpenSegment();
  const size_t before = out.size();
  out.append("HTTP/1.1 ");
  AppendNumber(static_cast<size_t>(response.status), &out);
  out.append(" ").append(ReasonOf(response.status)).append("\r\n").append(framing);
  if (!response.content_type.empty())
    out.append("Content-Type: ").append(response.content_type).append("\r\n");
  out.append(loop_->date());
  if (!keep) {
    out.append("Connection: close\r\n");
  } else if (!head.http11) {
    out.append("Connection: keep-alive\r\n");
  }
  const std::string_view id = head.Find("x-request-id");
  if (!id.empty()) out.append("X-Request-Id: ").append(id).append("\r\n");
  out.append(response.headers).append("\r\n");
  out_bytes_ += out.size() - before;
}

void HttpConnection::AppendResponse(ServerExchange& call) {
  HttpResponse& response = call.response;
  const HttpHead& head = call.head();
  const bool keep = head.keep_alive &&
                    !(loop_->shared().draining.load(std::memory_order_relaxed) && queue_.empty()) &&
                    !peer_ended_;
  if (!keep && queue_.empty()) last_request_ = true;
  std::array<char, 48> framing{};
  const auto end = fmt::format_to_n(framing.data(), framing.size(), "Content-Length: {}\r\n",
                                    response.body.size());
  AppendHead(call, keep, {framing.data(), end.size});
  if (head.method == HttpMethod::kHead) return;
  out_bytes_ += response.body.size();
  if (response.body.size() < kOwnSegment) {
    OpenSegment().append(response.body);
  } else {
    out_.push_back(std::move(response.body));
    out_open_ = false;
  }
}

void HttpConnection::AppendStreamHead(ServerExchange& call) {
  call.begun = true;
  call.last_piece = loop_->io().turn_time();
  ahead_bytes_ = out_bytes_;
  const HttpHead& head = call.head();
  const bool drain = loop_->shared().draining.load(std::memory_order_relaxed) && queue_.size() == 1;
  const bool chunked = head.http11;
  const bool keep = head.keep_alive && chunked && !drain && !peer_ended_;
  if (!keep && queue_.size() == 1) last_request_ = true;
  if (!chunked) last_request_ = true;
  AppendHead(call, keep, chunked ? "Transfer-Encoding: chunked\r\n" : "");
}

// Writes what has come of the stream at the front. True: that was all.
bool HttpConnection::AppendStream(ServerExchange& call) {
  if (!call.begun) AppendStreamHead(call);
  const bool chunked = call.head().http11;
  const bool silent = call.head().method == HttpMethod::kHead;
  if (!call.pieces.empty() && !silent) {
    call.last_piece = loop_->io().turn_time();
    if (chunked) AppendText(fmt::format("{:x}\r\n", call.pieces.size()));
    if (chunked) call.pieces.append("\r\n");
    AppendText(call.pieces);
  }
  call.pieces.clear();
  if (!call.home) return false;
  if (chunked && !silent) AppendText("0\r\n" + call.trailers + "\r\n");
  if (!chunked) ends_answer_ = true;
  if (loop_->shared().draining.load(std::memory_order_relaxed) && queue_.size() == 1)
    last_request_ = true;
  return true;
}

// A stream that says nothing shows that it is still there, and learns whether its client is.
void HttpConnection::Beat(Time now) {
  if (queue_.empty() || !queue_.front()->begun || out_bytes_ > 0) return;
  ServerExchange& call = *queue_.front();
  if (call.heartbeat.every <= Duration::zero() || now - call.last_piece < call.heartbeat.every)
    return;
  call.pieces.append(call.heartbeat.text);
  loop_->Touch(this);
}

// Tells the sender of a stream how far behind its client is.
void HttpConnection::CountUnsent() {
  if (queue_.empty() || !queue_.front()->begun) return;
  queue_.front()->unsent_bytes.store(out_bytes_ - ahead_bytes_, std::memory_order_relaxed);
}

void HttpConnection::Flush() {
  if (closed_) return;
  answered_bytes_ = 0;
  while (!queue_.empty() && !ends_answer_) {
    ServerExchange* call = queue_.front();
    if (call->streaming) {
      if (!AppendStream(*call)) break;
      queue_.pop_front();
    } else {
      if (!call->home) break;
      queue_.pop_front();
      AppendResponse(*call);
    }
    loop_->Recycle(call);
    if (phase_is_idle_) phase_start_ = loop_->io().turn_time();
  }
  Continue();
  Send();
  if (closed_) return;
  CountUnsent();
  AfterSend();
  // Room again: go on with what waited.
  if (!closed_ && state_ == State::kHead && !Paused() && (readable_ || !Unread().empty()))
    ReadAndHandle();
}

void HttpConnection::Send() {
  while (out_bytes_ > 0) {
    std::array<iovec, kIovecs> parts{};
    size_t count = 0;
    for (; count < std::min(out_.size(), kIovecs); ++count) {
      const size_t skip = count == 0 ? out_sent_ : 0;
      parts[count] = {out_[count].data() + skip, out_[count].size() - skip};
    }
    const ssize_t n = transport_.Write(parts.data(), count);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        WatchWritable(true);
      } else {
        Close();
      }
      return;
    }
    Sent(static_cast<size_t>(n));
  }
  WatchWritable(transport_.read_needs_output());
}

void HttpConnection::Sent(size_t n) {
  write_progress_ = loop_->io().turn_time();
  out_bytes_ -= n;
  ahead_bytes_ -= std::min(ahead_bytes_, n);
  size_t done = 0;
  while (done < out_.size() && n >= out_[done].size() - out_sent_) {
    n -= out_[done].size() - out_sent_;
    out_sent_ = 0;
    ++done;
  }
  out_sent_ += n;
  if (done == out_.size() && out_.front().capacity() <= kKeepBuffer) {
    out_.resize(1);
    out_.front().clear();
    out_open_ = true;
    return;
  }
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(done));
  if (out_.empty()) out_open_ = false;
}

void HttpConnection::AfterSend() {
  if (ends_answer_ && out_bytes_ == 0) return Close();
  if (out_bytes_ > 0 || !queue_.empty() || incoming_ != nullptr || !last_request_) return;
  if (lingering_ && !peer_ended_) return;
  if (linger_ && !peer_ended_) {
    StartLinger();
  } else {
    Close();
  }
}

// Closing with unread input would reset the connection, and the client might never see the answer.
void HttpConnection::StartLinger() {
  lingering_ = true;
  state_ = State::kDrain;
  phase_start_ = loop_->io().turn_time();
  transport_.EndWriting();
  readable_ = true;
  loop_->ReadLater(this);
}

}  // namespace evenkeel
