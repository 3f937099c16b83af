// A worker process under watch, from its start to its end: its answer to the load message, a limit for how long that takes, how it ended.
//
// Contract: made on the loop's thread, all events come there. `loaded` comes at most once, `ended` last, exactly once, also after Kill().
//   No event destroys this object; the destructor kills and reaps, and no event comes afterwards.
// Ownership: the loop, the clock, the descriptors outlive this object. Thread-safety: single-owner (the loop).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "containers/runtime.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/status.h"

namespace evenkeel {

struct WatchedProcessEvents {
  // The next message of the control socket. nullopt: there is none; an error: the process closed its end.
  std::function<Result<std::optional<std::string>>()> receive;
  std::function<void(Result<std::string> answer)> loaded;  // kUnavailable: it took too long
  std::function<void()> readable;                          // channel_fd is
  std::function<void()> last;  // before `ended`: what may still lie in the channel; may be empty
  std::function<void(const std::string& how)>
      ended;  // "signal 9 (Killed)", "exit 1", why it was killed
};

class WatchedProcess {
 public:
  struct Options {
    int control_fd = -1;
    int channel_fd = -1;
    Duration load_timeout = std::chrono::seconds(300);
  };

  WatchedProcess(std::shared_ptr<WorkerProcess> process, Options options, EventLoop& loop,
                 const Clock& clock, WatchedProcessEvents events);
  ~WatchedProcess();
  WatchedProcess(const WatchedProcess&) = delete;
  WatchedProcess& operator=(const WatchedProcess&) = delete;

  pid_t pid() const { return process_->pid(); }
  // For others to look at it for a moment.
  std::weak_ptr<const WorkerProcess> process() const { return process_; }
  Status Reshape(const WorkerShape& shape) { return process_->Reshape(shape); }
  Time started() const { return started_; }
  bool ending() const { return ended_ || !kill_reason_.empty(); }
  // `ended` follows with the first reason given.
  void Kill(std::string why);

 private:
  void OnControl();
  void OnExit();
  void TellLoaded(Result<std::string> answer);
  void StopWatching();

  std::shared_ptr<WorkerProcess> process_;
  const Options options_;
  EventLoop& loop_;
  WatchedProcessEvents events_;
  std::unique_ptr<Alarm> load_alarm_;
  std::string kill_reason_;
  const Time started_;
  bool loaded_ = false;
  bool ended_ = false;
  bool watching_ = true;
};

}  // namespace evenkeel
