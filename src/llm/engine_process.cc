#include "llm/engine_process.h"

#include <limits>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int kFramesATurn = 1024;

}  // namespace

Result<std::unique_ptr<EngineProcess>> EngineProcess::Start(EngineProcessOptions options,
                                                            Runtime& runtime, EventLoop& loop,
                                                            const Clock& clock,
                                                            EngineProcessEvents events) {
  auto channel = ipc::StreamChannel::Create(options.layout);
  if (!channel.ok()) return channel.status();
  const ipc::WorkerFds fds = (*channel)->worker_fds();
  options.spec.args = fds.Args();
  options.spec.inherit = {fds.memory, fds.wake, fds.done, fds.control};
  auto process = runtime.Start(options.spec);
  if (!process.ok()) return process.status();
  (*channel)->CloseWorkerEnds();
  EK_RETURN_IF_ERROR((*channel)->control().Send(Encode(options.load), false));

  std::unique_ptr<EngineProcess> made(new EngineProcess(std::move(*channel), std::move(events)));
  EngineProcess* const self = made.get();
  WatchedProcessEvents watched;
  watched.receive = [self] { return self->channel_->control().Receive(); };
  watched.loaded = [self](Result<std::string> answer) { self->OnAnswer(std::move(answer)); };
  watched.readable = [self] { self->OnFrames(kFramesATurn); };
  // The last answers may lie in the channel still; nobody adds to them.
  watched.last = [self] { self->OnFrames(std::numeric_limits<int>::max()); };
  watched.ended = [self](const std::string& how) { self->events_.ended(how); };
  made->process_ = std::make_unique<WatchedProcess>(
      std::move(*process),
      WatchedProcess::Options{self->channel_->control_fd(), self->channel_->frames_fd(),
                              options.load_timeout},
      loop, clock, std::move(watched));
  return made;
}

Status EngineProcess::Send(uint32_t type, std::string_view payload) {
  EK_RETURN_IF_ERROR(channel_->Send(type, payload));
  channel_->Wake();
  return Status::Ok();
}

Status EngineProcess::SendAside(uint32_t type, std::string_view payload) {
  EK_RETURN_IF_ERROR(channel_->SendAside(type, payload));
  channel_->Wake();
  return Status::Ok();
}

void EngineProcess::OnAnswer(Result<std::string> answer) {
  if (!answer.ok()) return events_.failed(answer.status());
  auto loaded = DecodeLlmLoaded(*answer);
  if (!loaded.ok()) return events_.failed(loaded.status());
  events_.loaded(std::move(*loaded));
}

void EngineProcess::OnFrames(int most) {
  channel_->DrainWake();
  uint32_t type = 0;
  std::string payload;
  for (int i = 0; !process_->ending(); ++i) {
    // A process that writes as fast as it is read does not keep the loop from all else.
    if (i == most) return channel_->WakeSelf();
    const auto got = channel_->Receive(&type, &payload);
    if (got.ok() && !*got) return;
    const Status status = got.ok() ? events_.frame(type, payload) : got.status();
    if (!status.ok()) Kill(fmt::format("it broke the channel's rules: {}", status.message()));
  }
}

}  // namespace evenkeel
