#include "profiling/cell_worker.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// Without a process descriptor the end is looked for this often.
constexpr Duration kLook = 50ms;
// The kernel closes a dying worker's socket before it can be reaped.
constexpr Duration kUntilReaped = 5s;

Time Now() { return SteadyClock::Instance().Now(); }

}  // namespace

Result<std::unique_ptr<CellWorker>> CellWorker::Start(const CellWorkerOptions& options,
                                                      Runtime& runtime, std::optional<Fate>* fate,
                                                      double* lost_core_s) {
  auto channel = ipc::Channel::Create(options.layout);
  if (!channel.ok()) return channel.status();
  const ipc::WorkerFds fds = (*channel)->worker_fds();
  WorkerSpec spec = options.spec;
  spec.args = fds.Args();
  spec.inherit = {fds.memory, fds.wake, fds.done, fds.control};
  auto process = runtime.Start(spec);
  if (!process.ok()) return process.status();
  (*channel)->CloseWorkerEnds();
  std::unique_ptr<CellWorker> worker(new CellWorker());
  worker->channel_ = std::move(*channel);
  worker->process_ = std::move(*process);
  worker->cancel_fd_ = options.cancel_fd;
  const Status loaded = worker->Load(options);
  *fate = worker->fate_;
  if (loaded.ok()) return worker;
  *lost_core_s += worker->Usage().cpu_s.value_or(0);
  return loaded;
}

CellWorker::~CellWorker() = default;

Status CellWorker::Load(const CellWorkerOptions& options) {
  const Time deadline = Now() + options.load_timeout;
  if (!channel_->SendControl(EncodeLoad(options.engine)).ok()) return Ended("while starting");
  for (;;) {
    auto message = channel_->ReceiveControl();
    if (!message.ok()) return Ended("while loading the model");
    if (message->has_value()) {
      auto loaded = DecodeLoaded(**message);
      if (!loaded.ok()) return loaded.status();
      model_ = std::move(*loaded);
      channel_->Expect(model_.signature.outputs);
      return Status::Ok();
    }
    EK_RETURN_IF_ERROR(WaitForEvent(channel_->control_fd(), deadline, "loading the model"));
  }
}

Status CellWorker::WaitForEvent(int fd, Time deadline, std::string_view what) {
  const int pidfd = process_->pidfd();
  for (;;) {
    Duration left = deadline - Now();
    if (left <= Duration::zero()) return TooLate(what);
    if (pidfd < 0) left = std::min(left, kLook);
    std::array<pollfd, 3> fds = {{{fd, POLLIN, 0}, {cancel_fd_, POLLIN, 0}, {pidfd, POLLIN, 0}}};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(left).count() + 1;
    const int ready =
        ::poll(fds.data(), fds.size(), static_cast<int>(std::min<int64_t>(ms, 60'000)));
    if (ready < 0 && errno != EINTR) return Internal("poll: error {}", errno);
    if (ready > 0 && fds[1].revents != 0) return Cancelled("interrupted");
    // What it still said before it ended is read first.
    if (ready > 0 && fds[0].revents != 0) return Status::Ok();
    std::string how;
    if (process_->Ended(&how)) return Ended(what);
  }
}

Status CellWorker::Ended(std::string_view what) {
  std::string how;
  const Time until = Now() + kUntilReaped;
  while (!process_->Ended(&how) && Now() < until) ::poll(nullptr, 0, 5);
  if (how.empty()) {
    process_->Kill();
    how = "closed its channel";
  }
  // Nobody here sends it a signal: the kernel did, for want of memory.
  const bool oom = process_->Usage().oom_kills.value_or(0) > 0 || how.starts_with("signal 9");
  fate_ = Fate{oom ? CellOutcome::kOom : CellOutcome::kError, fmt::format("{}: {}", what, how)};
  return Unavailable("{}", fate_->detail);
}

Status CellWorker::TooLate(std::string_view what) {
  process_->Kill();
  fate_ = Fate{CellOutcome::kTimeout, fmt::format("{} took too long", what)};
  return Unavailable("{}", fate_->detail);
}

Result<ipc::Completion> CellWorker::Wait(Time deadline) {
  for (;;) {
    if (auto done = channel_->Poll()) return std::move(*done);
    if (fate_) return Unavailable("{}", fate_->detail);
    const Status event = WaitForEvent(channel_->done_fd(), deadline, "a batch");
    if (!event.ok()) {
      // It may have answered before it ended.
      if (auto done = channel_->Poll()) return std::move(*done);
      return event;
    }
    channel_->DrainDone();
  }
}

}  // namespace evenkeel
