// Whole messages of up to 1 MiB over one end of a SOCK_SEQPACKET socket pair.
//
// The kernel bounds a packet by the socket's buffer, so a message travels as fragments; each starts with one byte that says
// whether more follow. Both ends of the channel use this class.
// Contract: Send() either hands over the whole message or fails for good. Receive() never blocks.
// Thread-safety: single-owner.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"
#include "ipc/unique_fd.h"

namespace evenkeel::ipc {

inline constexpr size_t kMaxControlMessage = size_t{1} << 20;

class ControlSocket {
 public:
  explicit ControlSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  // `block`: wait while the peer's buffer is full. Without it a full buffer is an error: about 150 KiB that the peer has not read.
  // Errors: kTooLarge (over 1 MiB, nothing sent), kUnavailable (the peer is gone, or does not read).
  Status Send(std::string_view message, bool block);
  // nullopt: no whole message yet. Errors: kUnavailable (the peer closed its end), kInternal (it broke the rules; close it).
  Result<std::optional<std::string>> Receive();

 private:
  UniqueFd fd_;
  std::string partial_;  // fragments of a message whose end has not come
};

}  // namespace evenkeel::ipc
