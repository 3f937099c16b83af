// One process of a language model, its worker or its prompt process: spawn, load handshake, stream of frames.
//
// Contract: created on the loop's thread, all events come there. Exactly one of `loaded` or `failed` comes first, unless the process ends
//   before; `ended` comes last, once, also after `failed` and after Kill(). An event may not destroy this object: post that. The destructor
//   kills and reaps; no event comes afterwards.
// Thread-safety: single-owner (the loop).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "containers/runtime.h"
#include "containers/watched_process.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/status.h"
#include "ipc/stream_channel.h"
#include "llm/wire/load_messages.h"

namespace evenkeel {

struct EngineProcessEvents {
  std::function<void(LlmLoaded)> loaded;
  std::function<void(const Status&)> failed;  // it refused the model
  // An error breaks the channel: the process is ended for it.
  std::function<Status(uint32_t type, const std::string& payload)> frame;
  std::function<void(const std::string& how)> ended;
};

struct EngineProcessOptions {
  WorkerSpec spec;  // executable, cpus, log_name, readable; args and inherit are filled in here
  LlmLoad load;
  ipc::StreamLayout layout;
  Duration load_timeout = std::chrono::seconds(300);
};

class EngineProcess {
 public:
  // Errors: as Runtime::Start and StreamChannel::Create.
  static Result<std::unique_ptr<EngineProcess>> Start(EngineProcessOptions options,
                                                      Runtime& runtime, EventLoop& loop,
                                                      const Clock& clock,
                                                      EngineProcessEvents events);
  pid_t pid() const { return process_->pid(); }
  // Errors: kOverloaded (no room now), kTooLarge. The process is woken.
  Status Send(uint32_t type, std::string_view payload);
  // As StreamChannel::SendAside(); errors as Send().
  Status SendAside(uint32_t type, std::string_view payload);
  WorkerUsage Usage() const { return process_->process().lock()->Usage(); }
  // As WorkerProcess::Reshape.
  Status Reshape(const WorkerShape& shape) { return process_->Reshape(shape); }
  void Kill(std::string why) { process_->Kill(std::move(why)); }  // `ended` follows with it
  Time started() const { return process_->started(); }

 private:
  EngineProcess(std::unique_ptr<ipc::StreamChannel> channel, EngineProcessEvents events)
      : events_(std::move(events)), channel_(std::move(channel)) {}
  void OnAnswer(Result<std::string> answer);
  void OnFrames(int most);

  EngineProcessEvents events_;
  std::unique_ptr<ipc::StreamChannel> channel_;
  std::unique_ptr<WatchedProcess> process_;
};

}  // namespace evenkeel
