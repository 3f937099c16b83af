// One worker for measuring: started, loaded and fed batch by batch by a thread that may block.
//
// Use for: sweeps. Not for: serving (server/worker.h does the same on an event loop).
// Contract: Start() returns once the model is loaded. Whatever happens to the worker afterwards (it dies, hangs, its memory limit
//   kills it) is an error of the call that noticed, and fate() says which outcome that is; the worker is then of no more use. Two
//   batches may be under way: Submit(), Submit(), Wait() ... as slots allow. The destructor kills and reaps.
//   A descriptor given as `cancel_fd` that becomes readable ends every wait with kCancelled.
// Thread-safety: single-owner. Source: A4.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "containers/runtime.h"
#include "core/clock.h"
#include "core/status.h"
#include "engines/control_codec.h"
#include "engines/engine.h"
#include "ipc/channel.h"
#include "profiling/policy/load_row.h"
#include "profiling/row_pool.h"

namespace evenkeel {

struct CellWorkerOptions {
  WorkerSpec spec;  // args and inherit are filled in here
  EngineOptions engine;
  ipc::Layout layout;
  Duration load_timeout = std::chrono::seconds(120);
  int cancel_fd = -1;
};

// How a worker came to its end, as a row tells it.
struct Fate {
  CellOutcome outcome = CellOutcome::kError;  // kOom, kTimeout or kError
  std::string detail;                         // "signal 9 (Killed): out of memory, 256MiB allowed"
};

class CellWorker {
 public:
  // Loading ended otherwise than well: `fate` is set where that is a result (killed, too slow, died), and the status is kUnavailable;
  // else the engine's own refusal or a failure to start, for which no other cell need be tried. The core time of a worker that is
  // not returned is added to `lost_core_s`.
  static Result<std::unique_ptr<CellWorker>> Start(const CellWorkerOptions& options,
                                                   Runtime& runtime, std::optional<Fate>* fate,
                                                   double* lost_core_s);
  ~CellWorker();

  const LoadedModel& model() const { return model_; }
  ipc::Channel& channel() { return *channel_; }
  WorkerUsage Usage() const { return process_->Usage(); }
  pid_t pid() const { return process_->pid(); }

  // Waits for the oldest batch submitted, until `deadline`. Release() its slot afterwards. Errors: kUnavailable (fate() is set),
  // kCancelled.
  Result<ipc::Completion> Wait(Time deadline);
  const std::optional<Fate>& fate() const { return fate_; }

 private:
  CellWorker() = default;
  // True: the worker is alive and something happened. False: `deadline` passed or it ended (fate_ is set) or was cancelled.
  Status WaitForEvent(int fd, Time deadline, std::string_view what);
  Status Load(const CellWorkerOptions& options);
  Status Ended(std::string_view what);
  Status TooLate(std::string_view what);

  std::unique_ptr<ipc::Channel> channel_;
  std::unique_ptr<WorkerProcess> process_;
  int cancel_fd_ = -1;
  LoadedModel model_;
  std::optional<Fate> fate_;
};

}  // namespace evenkeel
