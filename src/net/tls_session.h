// TLS over one non-blocking socket.
//
// Use for: Transport, where a connection is not plain; the load generator. Not for: anything that may block.
//
// Contract: never blocks, never raises SIGPIPE. Read() and Write() behave as recv() and sendmsg() on the plain text, so that a loop over an
//   edge-triggered socket is the same for both.
// Thread-safety: single-owner.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "net/openssl.h"

namespace evenkeel {

class TlsSession {
 public:
  enum class Progress : uint8_t { kDone, kWantsInput, kWantsOutput, kFailed };

  // The server's side of a connection, and the client's to `host` (see ExpectTlsHost). `fd` stays the caller's and must outlive the session.
  // Null when memory is out.
  static std::unique_ptr<TlsSession> Accept(const openssl::Context& context, int fd);
  static std::unique_ptr<TlsSession> Connect(const openssl::Context& context, int fd,
                                             const std::string& host);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // Until it says kDone, or kFailed (the peer has been told, error() says why). Nothing else is called before kDone.
  Progress Handshake();
  const std::string& error() const { return error_; }

  // As recv(): bytes, 0 when the peer has ended (in words or by its FIN), or -1 with errno: EAGAIN until the socket has an event
  // (read_needs_output(): until it takes output), EINTR to call again at once, anything else when the connection is of no more use.
  ssize_t Read(char* to, size_t room);
  // As sendmsg(), at most one record. After EAGAIN the same bytes come again first, and may have moved.
  ssize_t Write(const iovec* parts, size_t count);
  // After Read() gave bytes: no more is waiting, here or (at the last look) in the socket; what comes later raises an event.
  bool emptied() const { return dry_ && SSL_has_pending(session_) == 0; }
  bool read_needs_output() const { return read_needs_output_; }
  bool write_needs_input() const { return write_needs_input_; }
  // Says that nothing more comes from here. Once; later calls do nothing.
  void EndWriting();

 private:
  explicit TlsSession(int fd) : fd_(fd) {}
  static std::unique_ptr<TlsSession> Begin(const openssl::Context& context, int fd);
  static BIO_METHOD* SocketMethod();
  static int ReadSocket(BIO* bio, char* to, int room);
  static int WriteSocket(BIO* bio, const char* from, int size);
  static long ControlSocket(BIO* bio, int command, long number, void* pointer);
  ssize_t Fail(int result);

  const int fd_;
  SSL* session_ = nullptr;
  bool dry_ = false;      // the last look at the socket took all that it had
  bool blocked_ = false;  // this call met an empty socket
  bool ended_ = false;    // the socket gave its FIN
  bool broken_ = false;   // no further word is possible
  bool end_said_ = false;
  bool read_needs_output_ = false;
  bool write_needs_input_ = false;
  std::string error_;
};

}  // namespace evenkeel
