// The bytes of one connection: a plain socket, or TLS over it. Internal to net/.
//
// Contract: Read() and Write() are recv() and sendmsg() on a non-blocking socket, also in what errno says: EAGAIN until the socket has an event,
//   EINTR to call again at once, anything else for the end. Without TLS they are nothing more than that: one branch, no copy.
// Thread-safety: single-owner.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "net/tls_session.h"

namespace evenkeel {

class Transport {
 public:
  // Owns `fd`. `tls` is null for a plain connection, else its handshake is done.
  explicit Transport(int fd, std::unique_ptr<TlsSession> tls = nullptr)
      : fd_(fd), tls_(std::move(tls)) {}
  Transport(Transport&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), tls_(std::move(other.tls_)) {}
  Transport& operator=(Transport&&) = delete;
  ~Transport() { Close(); }

  int fd() const { return fd_; }
  bool encrypted() const { return tls_ != nullptr; }

  ssize_t Read(char* to, size_t room) {
    return tls_ == nullptr ? ::recv(fd_, to, room, 0) : tls_->Read(to, room);
  }
  // May take fewer bytes than it is given, and fewer than there is room for.
  ssize_t Write(iovec* parts, size_t count) {
    if (tls_ != nullptr) return tls_->Write(parts, count);
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    return ::sendmsg(fd_, &message, MSG_NOSIGNAL);
  }
  // Read() gave `got` of `room` bytes: has that emptied the socket, so that what comes later raises an event?
  bool Emptied(size_t got, size_t room) const {
    return tls_ == nullptr ? got < room : tls_->emptied();
  }
  // Read() goes on only when the socket takes output; Write() only when there is input.
  bool read_needs_output() const { return tls_ != nullptr && tls_->read_needs_output(); }
  bool write_needs_input() const { return tls_ != nullptr && tls_->write_needs_input(); }

  // The peer learns that nothing more comes; reading goes on.
  void EndWriting() {
    if (tls_ != nullptr) tls_->EndWriting();
    ::shutdown(fd_, SHUT_WR);
  }
  // What was written is still delivered. Once; later calls do nothing.
  void Close() {
    if (fd_ < 0) return;
    if (tls_ != nullptr) tls_->EndWriting();
    ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
  std::unique_ptr<TlsSession> tls_;  // does not own the descriptor
};

}  // namespace evenkeel
