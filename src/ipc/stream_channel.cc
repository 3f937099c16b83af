#include "ipc/stream_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <bit>
#include <cerrno>
#include <system_error>

#include "core/format.h"

namespace evenkeel::ipc {
namespace {

constexpr uint32_t kStreamMagic = 0x454b5331;  // "EKS1"
constexpr size_t kPage = 4096;
constexpr size_t kLeastRing = kPage;
constexpr size_t kMostRing = size_t{1} << 30;

struct StreamControl {
  uint32_t magic;
  uint32_t reserved;
  uint64_t to_worker, to_daemon;
  RingControl worker_ring, daemon_ring;
};
static_assert(sizeof(StreamControl) <= kPage);

Status ErrnoStatus(std::string_view what) {
  return Unavailable("{}: {}", what, std::generic_category().message(errno));
}

bool IsRingSize(uint64_t size) {
  return size >= kLeastRing && size <= kMostRing && std::has_single_bit(size);
}

size_t TotalOf(const StreamLayout& layout) { return kPage + layout.to_worker + layout.to_daemon; }

}  // namespace

StreamChannel::~StreamChannel() {
  if (base_ != nullptr) ::munmap(base_, total_);
}

Status StreamChannel::Map(int fd, const StreamLayout& layout) {
  total_ = TotalOf(layout);
  void* base = ::mmap(nullptr, total_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) return ErrnoStatus("mapping the stream's memory");
  base_ = static_cast<std::byte*>(base);
  // Advice: failing to give it harms nothing. Prompts belong in no core dump and in no other child.
  ::madvise(base, total_, MADV_DONTDUMP);
  ::madvise(base, total_, MADV_DONTFORK);
  return Status::Ok();
}

Result<std::unique_ptr<StreamChannel>> StreamChannel::Create(const StreamLayout& layout) {
  if (!IsRingSize(layout.to_worker) || !IsRingSize(layout.to_daemon)) {
    return InvalidArgument("rings of {} and {} bytes", layout.to_worker, layout.to_daemon);
  }
  std::unique_ptr<StreamChannel> channel(new StreamChannel());
  channel->memory_ = UniqueFd(::memfd_create("evenkeel-stream", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (channel->memory_.get() < 0) return ErrnoStatus("memfd_create");
  const int memory = channel->memory_.get();
  if (::ftruncate(memory, static_cast<off_t>(TotalOf(layout))) != 0) {
    return ErrnoStatus("ftruncate of the stream's memory");
  }
  if (::fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ErrnoStatus("sealing the stream's memory");
  }
  EK_RETURN_IF_ERROR(channel->Map(memory, layout));
  auto* control = reinterpret_cast<StreamControl*>(channel->base_);
  control->magic = kStreamMagic;
  control->to_worker = layout.to_worker;
  control->to_daemon = layout.to_daemon;
  std::byte* data = channel->base_ + kPage;
  channel->writer_.emplace(&control->worker_ring, std::span(data, layout.to_worker));
  channel->reader_.emplace(&control->daemon_ring,
                           std::span<const std::byte>(data + layout.to_worker, layout.to_daemon));
  channel->out_wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  channel->in_wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (channel->out_wake_.get() < 0 || channel->in_wake_.get() < 0) return ErrnoStatus("eventfd");
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return ErrnoStatus("socketpair");
  }
  channel->control_.emplace(UniqueFd(pair[0]));
  channel->worker_control_ = UniqueFd(pair[1]);
  return channel;
}

Result<std::unique_ptr<StreamChannel>> StreamChannel::Attach(const WorkerFds& fds) {
  std::unique_ptr<StreamChannel> channel(new StreamChannel());
  channel->memory_ = UniqueFd(fds.memory);
  channel->in_wake_ = UniqueFd(fds.wake);
  channel->out_wake_ = UniqueFd(fds.done);
  channel->control_.emplace(UniqueFd(fds.control));
  struct stat info {};
  std::array<uint64_t, 3> head{};  // magic and reserved, then the sizes
  if (::fstat(fds.memory, &info) != 0 ||
      ::pread(fds.memory, head.data(), sizeof head, 0) != static_cast<ssize_t>(sizeof head)) {
    return InvalidArgument("descriptor {} is not a stream's memory", fds.memory);
  }
  if (static_cast<uint32_t>(head[0]) != kStreamMagic) {
    return InvalidArgument("stream of another version: expected {:x}, got {:x}", kStreamMagic,
                           static_cast<uint32_t>(head[0]));
  }
  const StreamLayout layout{head[1], head[2]};
  if (!IsRingSize(layout.to_worker) || !IsRingSize(layout.to_daemon) ||
      TotalOf(layout) > static_cast<uint64_t>(info.st_size)) {
    return InvalidArgument("stream of {} bytes cannot hold rings of {} and {}", info.st_size,
                           layout.to_worker, layout.to_daemon);
  }
  EK_RETURN_IF_ERROR(channel->Map(fds.memory, layout));
  auto* control = reinterpret_cast<StreamControl*>(channel->base_);
  std::byte* data = channel->base_ + kPage;
  channel->reader_.emplace(&control->worker_ring,
                           std::span<const std::byte>(data, layout.to_worker));
  channel->writer_.emplace(&control->daemon_ring,
                           std::span(data + layout.to_worker, layout.to_daemon));
  return channel;
}

WorkerFds StreamChannel::worker_fds() const {
  return {memory_.get(), out_wake_.get(), in_wake_.get(), worker_control_.get(), false};
}

void StreamChannel::CloseWorkerEnds() {
  worker_control_.Close();
  memory_.Close();
}

void StreamChannel::Wake() { static_cast<void>(::eventfd_write(out_wake_.get(), 1)); }

void StreamChannel::WakeSelf() { static_cast<void>(::eventfd_write(in_wake_.get(), 1)); }

void StreamChannel::DrainWake() {
  eventfd_t ignored = 0;
  static_cast<void>(::eventfd_read(in_wake_.get(), &ignored));
}

bool StreamChannel::Wait(int limit_ms) {
  for (;;) {
    std::array<pollfd, 2> fds = {{{in_wake_.get(), POLLIN, 0}, {control_->fd(), POLLIN, 0}}};
    const int ready = ::poll(fds.data(), fds.size(), limit_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return false;
    if (fds[1].revents == 0) return true;
    char byte = 0;
    return ::recv(control_->fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }
}

}  // namespace evenkeel::ipc
