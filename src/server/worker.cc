#include "server/worker.h"

#include <utility>

#include "core/format.h"

namespace evenkeel {

Result<std::unique_ptr<Worker>> Worker::Start(WorkerOptions options, Runtime& runtime,
                                              EventLoop& loop, const Clock& clock,
                                              WorkerEvents events) {
  auto channel = ipc::Channel::Create(options.layout);
  if (!channel.ok()) return channel.status();
  ipc::WorkerFds fds = (*channel)->worker_fds();
  fds.spin = options.may_spin;
  options.spec.args = fds.Args();
  options.spec.inherit = {fds.memory, fds.wake, fds.done, fds.control};
  auto process = runtime.Start(options.spec);
  if (!process.ok()) return process.status();
  (*channel)->CloseWorkerEnds();
  EK_RETURN_IF_ERROR((*channel)->SendControl(EncodeLoad(options.engine)));

  std::unique_ptr<Worker> worker(new Worker(loop, std::move(events)));
  worker->channel_ = std::move(*channel);
  worker->process_ = std::move(*process);
  worker->started_ = clock.Now();
  Worker* self = worker.get();
  loop.Watch(self->channel_->control_fd(), [self] { self->OnControl(); });
  loop.Watch(self->channel_->done_fd(), [self] { self->events_.readable(); });
  if (self->process_->pidfd() >= 0) loop.Watch(self->process_->pidfd(), [self] { self->OnExit(); });
  self->watching_ = true;
  self->load_alarm_ = loop.MakeAlarm([self, limit = options.load_timeout] {
    if (std::exchange(self->loaded_, true)) return;
    self->events_.failed(Unavailable("load took longer than {:.0f} s", Seconds(limit)));
  });
  self->load_alarm_->Set(self->started_ + options.load_timeout);
  return worker;
}

Worker::~Worker() { StopWatching(); }

void Worker::StopWatching() {
  if (!std::exchange(watching_, false)) return;
  loop_.Unwatch(channel_->control_fd());
  loop_.Unwatch(channel_->done_fd());
  if (process_->pidfd() >= 0) loop_.Unwatch(process_->pidfd());
  load_alarm_.reset();
}

void Worker::OnControl() {
  auto message = channel_->ReceiveControl();
  if (!message.ok()) {
    // Its end is closed: it is ending, or has lost its mind. The exit itself is seen by the process descriptor.
    loop_.Unwatch(channel_->control_fd());
    process_->Kill();
    if (process_->pidfd() < 0) OnExit();
    return;
  }
  if (!message->has_value() || loaded_) return;
  loaded_ = true;
  load_alarm_->Set(kNever);
  auto loaded = DecodeLoaded(**message);
  if (loaded.ok()) {
    channel_->Expect(loaded->signature.outputs);
    events_.loaded(std::move(*loaded));
  } else {
    events_.failed(loaded.status());
  }
}

void Worker::OnExit() {
  std::string how;
  if (ended_) return;
  if (!process_->Ended(&how) && process_->pidfd() >= 0) return;
  // Why it failed may lie in the socket still.
  if (!loaded_ && process_->pidfd() >= 0) OnControl();
  if (ended_) return;
  ended_ = true;
  StopWatching();
  if (how.empty()) how = "closed its channel";
  events_.ended(kill_reason_.empty() ? how : kill_reason_);
}

void Worker::Kill(std::string why) {
  if (kill_reason_.empty()) kill_reason_ = std::move(why);
  process_->Kill();
}

}  // namespace evenkeel
