// One worker process from its start to its end: spawn, load handshake, shared-memory channel.
//
// Contract: created on the loop's thread, all events come there. Exactly one of `loaded` or `failed` comes first, unless the process ends before;
//   `ended` comes last, once, also after `failed` and after Kill(). The destructor kills and reaps; no event comes afterwards.
// Thread-safety: single-owner (the loop).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "containers/runtime.h"
#include "containers/watched_process.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/status.h"
#include "engines/control_codec.h"
#include "engines/engine.h"
#include "ipc/channel.h"

namespace evenkeel {

struct WorkerEvents {
  std::function<void(LoadedModel)> loaded;
  std::function<void(const Status&)> failed;  // the engine refused the model
  std::function<void()> readable;             // completions wait in channel()
  std::function<void(const std::string& how)>
      ended;  // "signal 9 (Killed)", "exit 1", "load took longer than 300 s"
};

// What an instance runs on.
struct InstanceDevice {
  std::string label = "CPU";      // "EMULATED", or the engine's name of an accelerator
  std::optional<GpuShape> share;  // of the accelerator
};

// A running worker, as the set of instances sees it.
class InstanceWorker {
 public:
  virtual ~InstanceWorker() = default;
  virtual pid_t pid() const = 0;  // 0 while a container is being made
  virtual ipc::Channel* channel() = 0;
  virtual InstanceDevice device() const { return {}; }
  // Ends the process; `ended` follows with `why`.
  virtual void Kill(std::string why) = 0;
  // What tells how much it used, for any thread; null: nothing does.
  virtual std::weak_ptr<const WorkerProcess> process() const { return {}; }
};

struct WorkerOptions {
  WorkerSpec spec;  // executable, cpus, log_name; args and inherit are filled in here
  EngineOptions engine;
  ipc::Layout layout;
  bool may_spin =
      false;  // there is a core beside the daemon's: it may look for its next batch before it sleeps
  Duration load_timeout = std::chrono::seconds(300);
};

class Worker final : public InstanceWorker {
 public:
  static Result<std::unique_ptr<Worker>> Start(WorkerOptions options, Runtime& runtime,
                                               EventLoop& loop, const Clock& clock,
                                               WorkerEvents events);
  pid_t pid() const override { return process_->pid(); }
  ipc::Channel* channel() override { return channel_.get(); }
  Time started() const { return process_->started(); }
  void Kill(std::string why) override { process_->Kill(std::move(why)); }
  std::weak_ptr<const WorkerProcess> process() const override { return process_->process(); }

 private:
  Worker(std::unique_ptr<ipc::Channel> channel, WorkerEvents events)
      : events_(std::move(events)), channel_(std::move(channel)) {}
  void OnAnswer(Result<std::string> answer);

  WorkerEvents events_;
  std::unique_ptr<ipc::Channel> channel_;
  std::unique_ptr<WatchedProcess> process_;
};

}  // namespace evenkeel
