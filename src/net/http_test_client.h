// A raw socket to a server under test: what is sent is exactly what the test writes, in plain or through TLS.
// Thread-safety: single-owner.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "net/tls_test_client.h"

namespace evenkeel {

// Where a test's client connects to, and how.
struct RawTarget {
  RawTarget(uint16_t to, int version = 0) : port(to), tls(version) {}  // NOLINT: implicit by design
  uint16_t port;
  int tls;  // 0: plain; else the version, TLS1_2_VERSION ...
};

class RawClient {
 public:
  explicit RawClient(RawTarget target) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(target.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval limit{10, 0};  // a test that waits this long has failed
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
    if (!connected_ || target.tls == 0) return;
    tls_ = std::make_unique<TlsTestClient>(fd_, target.tls);
    connected_ = tls_->Handshake();
  }
  ~RawClient() { Close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }
  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // Leaves without a word: what is on its way is thrown away.
  void Reset() {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    Close();
  }
  void EndSending() {
    if (tls_ != nullptr) tls_->EndSending();
    CutSending();
  }
  void CutSending() { ::shutdown(fd_, SHUT_WR); }  // not even TLS says that it ends
  TlsTestClient& tls() { return *tls_; }           // REQUIRES: not plain
  int fd() const { return fd_; }

  // False once the server has closed.
  bool Send(std::string_view text) {
    if (tls_ != nullptr) return tls_->Send(text);
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // The next response: head and body. What came of it, if the server closes before its end.
  std::string Receive() {
    size_t head = 0;
    while ((head = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill()) return Take(buffer_.size());
    }
    head += 4;
    size_t length = 0;
    const size_t field = buffer_.find("Content-Length: ");
    if (field < head) length = std::stoul(buffer_.substr(field + 16));
    if (buffer_.starts_with("HTTP/1.1 100")) length = 0;
    while (buffer_.size() < head + length) {
      if (!Fill()) break;
    }
    return Take(std::min(buffer_.size(), head + length));
  }

  // Everything up to and including `mark`. What came, if the server closes before.
  std::string ReceiveUntil(std::string_view mark) {
    size_t from = 0;
    for (;;) {
      const size_t at = buffer_.find(mark, from);
      if (at != std::string::npos) return Take(at + mark.size());
      from = buffer_.size() > mark.size() ? buffer_.size() - mark.size() : 0;
      if (!Fill()) return Take(buffer_.size());
    }
  }

  // Whether something can be read (or the server has closed) within `time`.
  bool Readable(std::chrono::milliseconds time) {
    if (tls_ != nullptr) return !buffer_.empty() || tls_->Fill(&buffer_, time) >= 0;
    pollfd p{fd_, POLLIN, 0};
    return !buffer_.empty() || ::poll(&p, 1, static_cast<int>(time.count())) > 0;
  }

  // Whether the server closes without sending anything more.
  bool AtEnd() { return buffer_.empty() && !Fill() && buffer_.empty(); }

 private:
  bool Fill() {
    if (tls_ != nullptr) return tls_->Fill(&buffer_, std::chrono::seconds(10)) == 1;
    char chunk[65536];
    const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
    if (n <= 0) return false;
    buffer_.append(chunk, static_cast<size_t>(n));
    return true;
  }
  std::string Take(size_t n) {
    std::string out = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return out;
  }

  int fd_;
  std::unique_ptr<TlsTestClient> tls_;
  bool connected_ = false;
  std::string buffer_;
};

inline int StatusOf(std::string_view response) {
  return response.starts_with("HTTP/1.1 ") ? std::stoi(std::string(response.substr(9, 3))) : 0;
}
// The bytes of a body in chunks, up to the first that is broken.
inline std::string Unchunked(std::string_view body) {
  std::string out;
  for (size_t line = body.find("\r\n"); line != std::string_view::npos; line = body.find("\r\n")) {
    const size_t size = std::stoul("0" + std::string(body.substr(0, line)), nullptr, 16);
    if (size == 0 || body.size() < line + 2 + size + 2) break;
    out.append(body.substr(line + 2, size));
    body.remove_prefix(line + 2 + size + 2);
  }
  return out;
}
inline std::string BodyOf(std::string_view response) {
  const size_t at = response.find("\r\n\r\n");
  return at == std::string_view::npos ? "" : std::string(response.substr(at + 4));
}

}  // namespace evenkeel
