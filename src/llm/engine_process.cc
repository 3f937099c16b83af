#include "llm/engine_process.h"

#include <utility>

#include "core/format.h"

namespace evenkeel {

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

  std::unique_ptr<EngineProcess> made(new EngineProcess(loop, std::move(events)));
  EngineProcess* self = made.get();
  self->channel_ = std::move(*channel);
  self->process_ = std::move(*process);
  self->started_ = clock.Now();
  loop.Watch(self->channel_->control_fd(), [self] { self->OnControl(); });
  loop.Watch(self->channel_->frames_fd(), [self] { self->OnFrames(); });
  if (self->process_->pidfd() >= 0) loop.Watch(self->process_->pidfd(), [self] { self->OnExit(); });
  self->watching_ = true;
  self->load_alarm_ = loop.MakeAlarm([self, limit = options.load_timeout] {
    if (std::exchange(self->loaded_, true)) return;
    self->events_.failed(Unavailable("load took longer than {:.0f} s", Seconds(limit)));
  });
  self->load_alarm_->Set(self->started_ + options.load_timeout);
  return made;
}

EngineProcess::~EngineProcess() { StopWatching(); }

void EngineProcess::StopWatching() {
  if (!std::exchange(watching_, false)) return;
  loop_.Unwatch(channel_->control_fd());
  loop_.Unwatch(channel_->frames_fd());
  if (process_->pidfd() >= 0) loop_.Unwatch(process_->pidfd());
  load_alarm_.reset();
}

Status EngineProcess::Send(uint32_t type, std::string_view payload) {
  EK_RETURN_IF_ERROR(channel_->Send(type, payload));
  channel_->Wake();
  return Status::Ok();
}

void EngineProcess::OnControl() {
  auto message = channel_->control().Receive();
  if (!message.ok()) {
    // Its end is closed: it is ending. The exit itself is seen by the process descriptor.
    loop_.Unwatch(channel_->control_fd());
    process_->Kill();
    if (process_->pidfd() < 0) OnExit();
    return;
  }
  if (!message->has_value() || loaded_) return;
  loaded_ = true;
  load_alarm_->Set(kNever);
  auto loaded = DecodeLlmLoaded(**message);
  if (loaded.ok()) {
    events_.loaded(std::move(*loaded));
  } else {
    events_.failed(loaded.status());
  }
}

void EngineProcess::OnFrames() {
  channel_->DrainWake();
  uint32_t type = 0;
  std::string payload;
  while (!ended_ && kill_reason_.empty()) {
    const auto got = channel_->Receive(&type, &payload);
    if (got.ok() && !*got) return;
    const Status status = got.ok() ? events_.frame(type, payload) : got.status();
    if (!status.ok()) Kill(fmt::format("it broke the channel's rules: {}", status.message()));
  }
}

void EngineProcess::OnExit() {
  if (ended_) return;
  std::string how;
  if (!process_->Ended(&how) && process_->pidfd() >= 0) return;
  // Why it failed, and the last answers, may lie in the channel still.
  if (!loaded_ && process_->pidfd() >= 0) OnControl();
  if (ended_) return;
  OnFrames();
  ended_ = true;
  StopWatching();
  if (how.empty()) how = "closed its channel";
  events_.ended(kill_reason_.empty() ? how : kill_reason_);
}

void EngineProcess::Kill(std::string why) {
  if (kill_reason_.empty()) kill_reason_ = std::move(why);
  process_->Kill();
}

}  // namespace evenkeel
