#include "net/tls_session.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "net/tls_context.h"

namespace evenkeel {
namespace {

// What TLS sends as one piece at most: smaller pieces are put together up to this.
constexpr size_t kRecordBytes = 16 * 1024;

// The first bytes of `parts`, as many as one record takes: where they lie, or in `space`. A call that repeats another gives at least its bytes.
std::string_view OneRecord(const iovec* parts, size_t count,
                           std::array<char, kRecordBytes>* space) {
  if (count == 1 || parts[0].iov_len >= kRecordBytes)
    return {static_cast<const char*>(parts[0].iov_base), parts[0].iov_len};
  size_t have = 0;
  for (size_t i = 0; i < count && have < kRecordBytes; ++i) {
    const size_t take = std::min(parts[i].iov_len, kRecordBytes - have);
    std::memcpy(space->data() + have, parts[i].iov_base, take);
    have += take;
  }
  return {space->data(), have};
}

}  // namespace

// OpenSSL's own socket BIO raises SIGPIPE and does not tell what the socket said.
BIO_METHOD* TlsSession::SocketMethod() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "evenkeel socket");
    BIO_meth_set_read(made, ReadSocket);
    BIO_meth_set_write(made, WriteSocket);
    BIO_meth_set_ctrl(made, ControlSocket);
    return made;
  }();
  return method;
}

int TlsSession::ReadSocket(BIO* bio, char* to, int room) {
  auto* const self = static_cast<TlsSession*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  ssize_t n = 0;
  do {
    n = ::recv(self->fd_, to, static_cast<size_t>(room), 0);
  } while (n < 0 && errno == EINTR);
  self->dry_ = n < room;
  if (n == 0) self->ended_ = true;
  if (n < 0 && errno == EAGAIN) {
    self->blocked_ = true;
    BIO_set_retry_read(bio);
  }
  return static_cast<int>(n);
}

int TlsSession::WriteSocket(BIO* bio, const char* from, int size) {
  auto* const self = static_cast<TlsSession*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  ssize_t n = 0;
  do {
    n = ::send(self->fd_, from, static_cast<size_t>(size), MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

long TlsSession::ControlSocket(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return static_cast<TlsSession*>(BIO_get_data(bio))->ended_ ? 1 : 0;
  return 0;
}

std::unique_ptr<TlsSession> TlsSession::Begin(const openssl::Context& context, int fd) {
  std::unique_ptr<TlsSession> made(new TlsSession(fd));
  made->session_ = SSL_new(context.get());
  BIO* const bio = made->session_ == nullptr ? nullptr : BIO_new(SocketMethod());
  if (bio == nullptr) return nullptr;
  SSL* const session = made->session_;
  BIO_set_data(bio, made.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(session, bio, bio);
  // Records from where the bytes lie, buffers only while they hold something, one look at the socket a call.
  SSL_set_mode(session, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  SSL_clear_mode(session, SSL_MODE_AUTO_RETRY);
  SSL_set_read_ahead(session, 1);
  // HTTP says itself where a message ends, and its answer may still be due.
  SSL_set_options(session, SSL_OP_IGNORE_UNEXPECTED_EOF);
  return made;
}

std::unique_ptr<TlsSession> TlsSession::Accept(const openssl::Context& context, int fd) {
  std::unique_ptr<TlsSession> made = Begin(context, fd);
  if (made != nullptr) SSL_set_accept_state(made->session_);
  return made;
}

std::unique_ptr<TlsSession> TlsSession::Connect(const openssl::Context& context, int fd,
                                                const std::string& host) {
  std::unique_ptr<TlsSession> made = Begin(context, fd);
  if (made == nullptr || !ExpectTlsHost(made->session_, host)) return nullptr;
  SSL_set_connect_state(made->session_);
  return made;
}

TlsSession::~TlsSession() { SSL_free(session_); }

TlsSession::Progress TlsSession::Handshake() {
  for (;;) {
    ERR_clear_error();
    blocked_ = false;
    errno = 0;
    const int result = SSL_do_handshake(session_);
    const int why = errno;
    if (result == 1) return Progress::kDone;
    switch (SSL_get_error(session_, result)) {
      case SSL_ERROR_WANT_READ:
        if (blocked_) return Progress::kWantsInput;
        break;  // a message that changed nothing
      case SSL_ERROR_WANT_WRITE: return Progress::kWantsOutput;
      default:
        broken_ = true;
        error_ = ended_                              ? "the client left"
                 : ERR_peek_error() == 0 && why != 0 ? std::strerror(why)
                                                     : openssl::TakeErrors();
        return Progress::kFailed;
    }
  }
}

ssize_t TlsSession::Read(char* to, size_t room) {
  ERR_clear_error();
  blocked_ = false;
  read_needs_output_ = false;
  size_t got = 0;
  const int result = SSL_read_ex(session_, to, room, &got);
  if (result == 1) return static_cast<ssize_t>(got);
  switch (SSL_get_error(session_, result)) {
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_WANT_READ: errno = blocked_ ? EAGAIN : EINTR; return -1;
    case SSL_ERROR_WANT_WRITE:
      read_needs_output_ = true;
      errno = EAGAIN;
      return -1;
    default: return Fail(ECONNRESET);
  }
}

ssize_t TlsSession::Write(const iovec* parts, size_t count) {
  static thread_local std::array<char, kRecordBytes> space;
  const std::string_view record = OneRecord(parts, count, &space);
  ERR_clear_error();
  write_needs_input_ = false;
  size_t sent = 0;
  const int result = SSL_write_ex(session_, record.data(), record.size(), &sent);
  if (result == 1) return static_cast<ssize_t>(sent);
  switch (SSL_get_error(session_, result)) {
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_WANT_READ:
      write_needs_input_ = true;
      errno = EAGAIN;
      return -1;
    default: return Fail(EPIPE);
  }
}

ssize_t TlsSession::Fail(int result) {
  broken_ = true;
  error_ = openssl::TakeErrors();
  errno = result;
  return -1;
}

void TlsSession::EndWriting() {
  if (broken_ || std::exchange(end_said_, true)) return;
  ERR_clear_error();
  SSL_shutdown(session_);  // one record; where the socket has no room for it, its end must do
  ERR_clear_error();
}

}  // namespace evenkeel
