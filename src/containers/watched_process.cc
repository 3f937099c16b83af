#include "containers/watched_process.h"

#include <utility>

#include "core/format.h"

namespace evenkeel {

WatchedProcess::WatchedProcess(std::shared_ptr<WorkerProcess> process, Options options,
                               EventLoop& loop, const Clock& clock, WatchedProcessEvents events)
    : process_(std::move(process)),
      options_(options),
      loop_(loop),
      events_(std::move(events)),
      started_(clock.Now()) {
  loop_.Watch(options_.control_fd, [this] { OnControl(); });
  loop_.Watch(options_.channel_fd, [this] { events_.readable(); });
  if (process_->pidfd() >= 0) loop_.Watch(process_->pidfd(), [this] { OnExit(); });
  load_alarm_ = loop_.MakeAlarm([this] {
    TellLoaded(Unavailable("load took longer than {:.0f} s", Seconds(options_.load_timeout)));
  });
  load_alarm_->Set(started_ + options_.load_timeout);
}

WatchedProcess::~WatchedProcess() { StopWatching(); }

void WatchedProcess::StopWatching() {
  if (!std::exchange(watching_, false)) return;
  loop_.Unwatch(options_.control_fd);
  loop_.Unwatch(options_.channel_fd);
  if (process_->pidfd() >= 0) loop_.Unwatch(process_->pidfd());
  load_alarm_.reset();
}

void WatchedProcess::TellLoaded(Result<std::string> answer) {
  if (std::exchange(loaded_, true)) return;
  events_.loaded(std::move(answer));
}

void WatchedProcess::OnControl() {
  auto message = events_.receive();
  if (!message.ok()) {
    // Its end is closed: it is ending, or has lost its mind. The exit itself is seen by the process descriptor.
    loop_.Unwatch(options_.control_fd);
    process_->Kill();
    if (process_->pidfd() < 0) OnExit();
    return;
  }
  if (!message->has_value() || loaded_) return;
  load_alarm_->Set(kNever);
  TellLoaded(std::move(**message));
}

void WatchedProcess::OnExit() {
  std::string how;
  if (ended_) return;
  if (!process_->Ended(&how) && process_->pidfd() >= 0) return;
  // Why it failed may lie in the socket still.
  if (!loaded_ && process_->pidfd() >= 0) OnControl();
  if (ended_) return;
  if (events_.last) events_.last();
  ended_ = true;
  StopWatching();
  if (how.empty()) how = "closed its channel";
  events_.ended(kill_reason_.empty() ? how : kill_reason_);
}

void WatchedProcess::Kill(std::string why) {
  if (kill_reason_.empty()) kill_reason_ = std::move(why);
  process_->Kill();
}

}  // namespace evenkeel
