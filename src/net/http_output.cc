#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

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
  call->response = JsonError(error.status, error.message);
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

void HttpConnection::AppendResponse(ServerExchange& call) {
  HttpResponse& response = call.response;
  const HttpHead& head = call.head();
  const bool keep = head.keep_alive &&
                    !(loop_->shared().draining.load(std::memory_order_relaxed) && queue_.empty()) &&
                    !peer_ended_;
  if (!keep && queue_.empty()) last_request_ = true;
  if (out_bytes_ == 0) write_progress_ = loop_->io().turn_time();
  std::string& out = OpenSegment();
  const size_t before = out.size();
  out.append("HTTP/1.1 ");
  AppendNumber(static_cast<size_t>(response.status), &out);
  out.append(" ").append(ReasonOf(response.status)).append("\r\nContent-Length: ");
  AppendNumber(response.body.size(), &out);
  if (!response.content_type.empty())
    out.append("\r\nContent-Type: ").append(response.content_type);
  out.append("\r\n").append(loop_->date());
  if (!keep) {
    out.append("Connection: close\r\n");
  } else if (!head.http11) {
    out.append("Connection: keep-alive\r\n");
  }
  const std::string_view id = head.Find("x-request-id");
  if (!id.empty()) out.append("X-Request-Id: ").append(id).append("\r\n");
  out.append(response.headers).append("\r\n");
  out_bytes_ += out.size() - before;
  if (head.method == HttpMethod::kHead) return;
  out_bytes_ += response.body.size();
  if (response.body.size() < kOwnSegment) {
    out.append(response.body);
  } else {
    out_.push_back(std::move(response.body));
    out_open_ = false;
  }
}

void HttpConnection::Flush() {
  if (closed_) return;
  answered_bytes_ = 0;
  while (!queue_.empty() && queue_.front()->home) {
    ServerExchange* call = queue_.front();
    queue_.pop_front();
    AppendResponse(*call);
    loop_->Recycle(call);
    if (phase_is_idle_) phase_start_ = loop_->io().turn_time();
  }
  Continue();
  Send();
  if (closed_) return;
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
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
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
  WatchWritable(false);
}

void HttpConnection::Sent(size_t n) {
  write_progress_ = loop_->io().turn_time();
  out_bytes_ -= n;
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
  ::shutdown(fd_, SHUT_WR);
  readable_ = true;
  loop_->ReadLater(this);
}

}  // namespace evenkeel
