// A channel of typed frames both ways between the daemon and one worker: for engines that stream instead of answering batches.
//
// One sealed memfd holds a ring each way; an eventfd each way says that frames may be there; control messages (load, loaded, failed) go
// over the same socket pair as in channel.h, whose end-of-file means that the other side is gone.
// Contract: Send() puts a frame into the ring and wakes nobody: call Wake() after the last of a burst. Frames arrive in order.
// Thread-safety: single-owner, each end.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"
#include "ipc/byte_ring.h"
#include "ipc/channel.h"
#include "ipc/control_socket.h"
#include "ipc/unique_fd.h"

namespace evenkeel::ipc {

struct StreamLayout {
  // Bytes of the rings; powers of two, 4 KiB to 1 GiB.
  size_t to_worker = size_t{4} << 20;
  size_t to_daemon = size_t{4} << 20;
};

class StreamChannel {
 public:
  // The daemon's end. Errors: kUnavailable (no descriptors or memory), with errno's text.
  static Result<std::unique_ptr<StreamChannel>> Create(const StreamLayout& layout);
  // The worker's end: takes the descriptors. Errors: kInvalidArgument (not a channel of this version, or its sizes lie), kUnavailable.
  static Result<std::unique_ptr<StreamChannel>> Attach(const WorkerFds& fds);
  ~StreamChannel();
  StreamChannel(const StreamChannel&) = delete;
  StreamChannel& operator=(const StreamChannel&) = delete;

  // The daemon's end only.
  WorkerFds worker_fds() const;  // close-on-exec is set: the spawner clears it in the child
  void CloseWorkerEnds();        // after the spawn, so that end-of-file works

  int frames_fd() const { return in_wake_.get(); }  // readable: frames may be there
  int control_fd() const { return control_->fd(); }
  ControlSocket& control() { return *control_; }

  // Errors: kOverloaded (no room now), kTooLarge, kInternal (the peer broke the rules).
  Status Send(uint32_t type, std::string_view payload) { return writer_->Write(type, payload); }
  // The same of what must not be in the way of other frames: half of the ring stays free for those.
  Status SendAside(uint32_t type, std::string_view payload) {
    return writer_->Write(type, payload, writer_->size() / 2);
  }
  void Wake();      // the other side
  void WakeSelf();  // frames_fd() is readable again: frames were left
  // Resets frames_fd(). Call before Receive().
  void DrainWake();
  // False: nothing there. Error kInternal: the peer broke the rules, the channel is of no more use.
  Result<bool> Receive(uint32_t* type, std::string* payload) {
    return reader_->Read(type, payload);
  }

  // The worker's end: waits until frames or a control message may be there, or `limit_ms` have passed (-1: no limit). False: the daemon
  // closed its end.
  bool Wait(int limit_ms);

 private:
  StreamChannel() = default;
  Status Map(int fd, const StreamLayout& layout);

  std::byte* base_ = nullptr;
  size_t total_ = 0;
  std::optional<RingWriter> writer_;
  std::optional<RingReader> reader_;
  UniqueFd memory_, in_wake_, out_wake_, worker_control_;
  std::optional<ControlSocket> control_;
};

}  // namespace evenkeel::ipc
