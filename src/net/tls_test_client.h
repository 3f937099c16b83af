// The client's side of TLS for tests: trusts whatever it meets, and lets tests reach into the session.
// Thread-safety: one thread may send while another reads.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <mutex>
#include <string>
#include <string_view>

#include "net/openssl.h"

namespace evenkeel {

// OpenSSL's own sockets raise SIGPIPE. It is kept from the thread that calls, and from no other: the server under test has none to raise.
class NoPipeSignal {
 public:
  NoPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoPipeSignal() {
    const timespec at_once{};
    while (sigtimedwait(&pipe_, nullptr, &at_once) > 0) continue;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;

 private:
  sigset_t pipe_{}, before_{};
};

class TlsTestClient {
 public:
  // Speaks TLS of `version` only (TLS1_2_VERSION ...) on a connected socket, which stays the caller's.
  TlsTestClient(int fd, int version)
      : fd_(fd), context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    SSL_CTX_set_security_level(context_.get(),
                               0);  // old versions, too: it is the server that refuses them
    SSL_CTX_set_cipher_list(context_.get(), "ALL");
    SSL_CTX_set_min_proto_version(context_.get(), version);
    SSL_CTX_set_max_proto_version(context_.get(), version);
    SSL_CTX_set_mode(context_.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    session_ = SSL_new(context_.get());
    ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) | O_NONBLOCK);
    SSL_set_fd(session_, fd_);
    SSL_set_connect_state(session_);
  }
  ~TlsTestClient() { SSL_free(session_); }
  TlsTestClient(const TlsTestClient&) = delete;
  TlsTestClient& operator=(const TlsTestClient&) = delete;

  SSL* session() { return session_; }
  SSL_CTX* context() { return context_.get(); }

  // False: it failed, or is not over after ten seconds.
  bool Handshake() {
    return Repeat([this] { return SSL_do_handshake(session_); }) == 1;
  }
  bool Send(std::string_view text) {
    while (!text.empty()) {
      const int n =
          Repeat([&] { return SSL_write(session_, text.data(), static_cast<int>(text.size())); });
      if (n <= 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // 1: something was added; 0: the peer has ended, or the session is broken; -1: nothing came within `time`.
  int Fill(std::string* to, std::chrono::milliseconds time) {
    char chunk[65536];
    if (ended_) return 0;
    const int n = Repeat([&] { return SSL_read(session_, chunk, sizeof chunk); }, time);
    if (n > 0) to->append(chunk, static_cast<size_t>(n));
    ended_ = n == 0;
    return n > 0 ? 1 : n;
  }
  void EndSending() {
    const NoPipeSignal quiet;
    const std::lock_guard lock(mutex_);
    SSL_shutdown(session_);
  }

 private:
  // The call's result once it is over; 0 when the session is; -1 when `time` is.
  template <typename Call>
  int Repeat(const Call& call, std::chrono::milliseconds time = std::chrono::seconds(10)) {
    const NoPipeSignal quiet;
    const auto end = std::chrono::steady_clock::now() + time;
    for (;;) {
      int error = 0;
      {
        const std::lock_guard lock(mutex_);
        ERR_clear_error();
        const int result = call();
        if (result > 0) return result;
        error = SSL_get_error(session_, result);
      }
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return 0;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - std::chrono::steady_clock::now());
      pollfd p{fd_, static_cast<short>(error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), 0};
      if (left.count() < 0 || ::poll(&p, 1, static_cast<int>(left.count())) == 0) return -1;
    }
  }

  const int fd_;
  openssl::Context context_;
  SSL* session_ = nullptr;
  std::mutex mutex_;  // guards the session's use
  bool ended_ = false;
};

}  // namespace evenkeel
