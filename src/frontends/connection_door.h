// A port with a bound on its connections, for a server that has none of its own: accepts, closes what is beyond the bound, and hands the rest on.
//
// Use for: gRPC 1.51, which accepts as many as there are descriptors. With a newer gRPC it shrinks to a setting (GRPC_ARG_MAX_ALLOWED_INCOMING_CONNECTIONS).
// How it goes: nobody says when a connection ends. It counts while its descriptor is the socket that was handed on, by its inode: looked at when the bound is reached, each kSweepEvery at most.
// Contract: `pass` takes the descriptor over, on the door's thread, which does nothing else; it is not called any more once the door is gone. Nobody is let in before Open().
// Errors: Listen(): kInvalidArgument (no numeric address), kConflict (the port, with the system's text).
// Thread-safety: OpenSockets: single-owner. ConnectionDoor: thread-safe, but for Open() and destruction.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/log_pace.h"
#include "core/status.h"

namespace evenkeel {

// IPv4 or IPv6, without a port.
bool IsNumericAddress(const std::string& address);

// Sockets that others close.
class OpenSockets {
 public:
  static constexpr Duration kSweepEvery = std::chrono::milliseconds(10);

  explicit OpenSockets(size_t most) : most_(most) {}
  // False: so many are open already.
  bool Add(int fd, Time now);

 private:
  struct Socket {
    int fd = -1;
    ino_t inode = 0;
  };
  const size_t most_;
  Time sweep_at_{};
  std::vector<Socket> sockets_;  // some of them closed since
};

class ConnectionDoor {
 public:
  // `address`: numeric. `port` 0: any free one. `most`: >= 1.
  static Result<std::unique_ptr<ConnectionDoor>> Listen(const std::string& address, int port,
                                                        int most);
  ~ConnectionDoor();
  ConnectionDoor(const ConnectionDoor&) = delete;
  ConnectionDoor& operator=(const ConnectionDoor&) = delete;

  void Open(std::function<void(int fd)> pass);  // once
  int port() const { return port_; }
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  ConnectionDoor(int fd, int stop_fd, int port, int most);
  void Run(const std::function<void(int fd)>& pass);
  // False: there are no descriptors now.
  bool AcceptSome(const std::function<void(int fd)>& pass, OpenSockets* open);

  const int fd_, stop_fd_, port_, most_;
  LogPace pace_;  // the thread's
  std::atomic<uint64_t> refused_{0};
  std::thread thread_;  // last
};

}  // namespace evenkeel
