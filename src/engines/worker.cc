// The loop of every worker executable: one load message, then batches until the daemon closes its end.
#include <sys/resource.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <exception>
#include <new>
#include <vector>

#include "core/clock.h"
#include "core/format.h"
#include "engines/arena_sink.h"
#include "engines/control_codec.h"
#include "engines/engine.h"
#include "ipc/worker_end.h"

namespace evenkeel {
namespace {

// Exit codes, named in the daemon's log as "exit N".
constexpr int kExitClosed = 0;
constexpr int kExitUsage = 2;
constexpr int kExitProtocol = 3;

// What an engine throws is an error of the batch or of the load, never the end of the worker.
template <typename Call>
auto Guarded(Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return Internal("the engine ran out of memory");
  } catch (const std::exception& e) {
    return Internal("{}", e.what());
  } catch (...) {
    return Internal("the engine threw something that is no exception");
  }
}

class Worker {
 public:
  Worker(Engine& engine, ipc::WorkerEnd& end) : engine_(engine), end_(end) {}
  int Serve();

 private:
  // Answers the messages that are there. False: the channel is closed or broken.
  bool HandleControl();
  Status HandleLoad(std::string_view message);
  void HandleBatch();

  Engine& engine_;
  ipc::WorkerEnd& end_;
  Signature signature_;
  bool loaded_ = false;
  std::vector<TensorView> inputs_, outputs_;  // kept for their memory
};

bool Worker::HandleControl() {
  for (;;) {
    auto message = end_.ReceiveControl();
    if (!message.ok()) return false;
    if (!message->has_value()) return true;
    const Status status = HandleLoad(**message);
    if (!status.ok() && !end_.SendControl(EncodeFailed(status)).ok()) return false;
  }
}

Status Worker::HandleLoad(std::string_view message) {
  auto options = DecodeLoad(message);
  if (!options.ok()) return options.status();
  if (loaded_) return Conflict("this worker has a model already");
  auto signature = Guarded([&] { return engine_.Load(*options); });
  if (!signature.ok()) return signature.status();
  if (signature->inputs.size() > ipc::kMaxTensors || signature->outputs.size() > ipc::kMaxTensors) {
    return Unsupported("the model has {} inputs and {} outputs, at most {} of each are supported",
                       signature->inputs.size(), signature->outputs.size(), ipc::kMaxTensors);
  }
  signature_ = std::move(signature).value();
  loaded_ = true;
  const std::string facts =
      engine_.Describe().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return end_.SendControl(EncodeLoaded({signature_, facts}));
}

void Worker::HandleBatch() {
  const SteadyClock& clock = SteadyClock::Instance();
  Time start = clock.Now();
  Status status = end_.Take(&inputs_);
  if (status.ok() && !loaded_) status = Internal("a batch came before a model");
  if (status.ok() && inputs_.size() != signature_.inputs.size()) {
    status =
        Internal("batch has {} inputs, the model {}", inputs_.size(), signature_.inputs.size());
  }
  for (size_t i = 0; status.ok() && i < inputs_.size(); ++i) {
    if (inputs_[i].spec != i || inputs_[i].dtype != signature_.inputs[i].dtype) {
      status = Internal("batch input {} is not the model's '{}'", i, signature_.inputs[i].name);
    }
  }
  ArenaSink sink(end_.output_arena(), signature_.outputs.size());
  if (status.ok()) {
    start = clock.Now();
    status = Guarded([&] { return engine_.Run(inputs_, sink); });
  }
  const Time stop = clock.Now();
  if (status.ok()) status = sink.Collect(&outputs_);
  if (!status.ok() && sink.overflowed()) {
    status = TooLarge("the outputs of this batch do not fit the {} bytes reserved for them",
                      end_.output_arena().size());
  }
  if (!status.ok()) outputs_.clear();
  end_.Finish(status, outputs_, start, stop);
}

int Worker::Serve() {
  for (;;) {
    switch (end_.Wait()) {
      case ipc::WorkerEnd::Event::kBatch: HandleBatch(); break;
      case ipc::WorkerEnd::Event::kControl:
        if (!HandleControl()) return kExitClosed;
        break;
      case ipc::WorkerEnd::Event::kClosed: return kExitClosed;
    }
  }
}

}  // namespace

int RunWorker(Engine& engine, int argc, char** argv) {
  // A crash must cost its batch only, not the seconds and the disk of a core dump with the clients' tensors in it.
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  auto fds = ipc::ParseWorkerFds(argc, argv);
  if (!fds.ok()) {
    std::fprintf(stderr, "%s\n", fds.status().message().c_str());
    return kExitUsage;
  }
  auto end = ipc::WorkerEnd::Attach(*fds);
  if (!end.ok()) {
    std::fprintf(stderr, "%s\n", end.status().message().c_str());
    return kExitProtocol;
  }
  return Worker(engine, **end).Serve();
}

}  // namespace evenkeel
