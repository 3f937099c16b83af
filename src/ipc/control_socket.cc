#include "ipc/control_socket.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "core/format.h"

namespace evenkeel::ipc {
namespace {

constexpr size_t kFragment = size_t{32} << 10;
constexpr char kLast = 0;
constexpr char kMore = 1;

std::string ErrnoText() { return std::generic_category().message(errno); }

}  // namespace

Status ControlSocket::Send(std::string_view message, bool block) {
  if (message.size() > kMaxControlMessage) {
    return TooLarge("control message of {} bytes, at most {} are allowed", message.size(),
                    kMaxControlMessage);
  }
  do {
    const std::string_view part = message.substr(0, kFragment);
    message.remove_prefix(part.size());
    char flag = message.empty() ? kLast : kMore;
    std::array<iovec, 2> pieces = {{{&flag, 1}, {const_cast<char*>(part.data()), part.size()}}};
    msghdr header{};
    header.msg_iov = pieces.data();
    header.msg_iovlen = pieces.size();
    ssize_t sent;
    do {
      sent = ::sendmsg(fd_.get(), &header, MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT));
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return Unavailable("control socket: {}", ErrnoText());
  } while (!message.empty());
  return Status::Ok();
}

Result<std::optional<std::string>> ControlSocket::Receive() {
  std::array<char, kFragment + 1> packet;
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::optional<std::string>();
    if (got < 0) return Unavailable("control socket: {}", ErrnoText());
    if (got == 0) return Unavailable("control socket: closed by the other side");
    const size_t size = static_cast<size_t>(got);
    if (size > packet.size() || (packet[0] != kLast && packet[0] != kMore)) {
      return Internal("control socket: packet of {} bytes is not a fragment", size);
    }
    // Never sent by us; without end they would be read without end.
    if (packet[0] == kMore && size == 1) return Internal("control socket: an empty fragment");
    if (partial_.size() + size - 1 > kMaxControlMessage) {
      partial_.clear();
      return Internal("control socket: message over {} bytes", kMaxControlMessage);
    }
    partial_.append(packet.data() + 1, size - 1);
    if (packet[0] == kLast) return std::optional<std::string>(std::exchange(partial_, {}));
  }
}

}  // namespace evenkeel::ipc
