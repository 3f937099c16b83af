// The door of a node's port: takes connections, reads their first bytes, and lets in only those that speak TLS 1.3.
//
// Use for: gRPC servers between nodes. gRPC 1.51 offers no way to refuse TLS 1.2, so what it gets is chosen here (GrpcDoor puts the two together).
// Contract: what is let in goes to `pass` with the bytes that were read, once, on the loop's thread; everything else is closed: no TLS, an older
//   one, silence for `patience`. At most `most` are looked at, together; a newer one has the oldest closed.
// Thread-safety: thread-safe. The gate goes on another thread than the loop's, while that runs or before it ever did.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {
class IoLoop;
}

namespace evenkeel::link {

struct HelloGateOptions {
  std::string address = "127.0.0.1";  // numeric, IPv4 or IPv6
  uint16_t port = 0;                  // 0: any free one
  Duration patience = std::chrono::seconds(10);
  size_t most = 256;
};

class HelloGate {
 public:
  // Takes `fd` over.
  using Pass = std::function<void(int fd, std::string read)>;

  // Listens at once; nobody is let in before Open(). Errors: kInvalidArgument (address), kUnavailable (the port).
  static Result<std::unique_ptr<HelloGate>> Listen(const HelloGateOptions& options, IoLoop& loop);
  // Closes the port and all that wait; `pass` is not called any more once it returns.
  ~HelloGate();

  void Open(Pass pass);  // once
  uint16_t port() const;

 private:
  class Impl;
  explicit HelloGate(std::shared_ptr<Impl> impl);
  const std::shared_ptr<Impl> impl_;
};

}  // namespace evenkeel::link
