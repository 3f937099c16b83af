#include "server/worker.h"

#include <utility>

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

  std::unique_ptr<Worker> worker(new Worker(std::move(*channel), std::move(events)));
  Worker* const self = worker.get();
  WatchedProcessEvents watched;
  watched.receive = [self] { return self->channel_->ReceiveControl(); };
  watched.loaded = [self](Result<std::string> answer) { self->OnAnswer(std::move(answer)); };
  watched.readable = [self] { self->events_.readable(); };
  watched.ended = [self](const std::string& how) { self->events_.ended(how); };
  worker->process_ = std::make_unique<WatchedProcess>(
      std::move(*process),
      WatchedProcess::Options{self->channel_->control_fd(), self->channel_->done_fd(),
                              options.load_timeout},
      loop, clock, std::move(watched));
  return worker;
}

void Worker::OnAnswer(Result<std::string> answer) {
  if (!answer.ok()) return events_.failed(answer.status());
  auto loaded = DecodeLoaded(*answer);
  if (!loaded.ok()) return events_.failed(loaded.status());
  channel_->Expect(loaded->signature.outputs);
  events_.loaded(std::move(*loaded));
}

}  // namespace evenkeel
