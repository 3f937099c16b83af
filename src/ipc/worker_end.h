// The worker's end of the shared-memory channel.
//
// Contract: Wait() blocks until the next slot in turn is ready, a control message is there, or the daemon closed its end (then the
//   worker must exit). A batch is read with Take() and answered with exactly one Finish() before the next Wait().
//   What the daemon wrote is copied out of shared memory and checked as strictly as the daemon checks the worker.
//   Before it sleeps it looks for a while where the daemon allows that (WorkerFds::spin) and it has been paying: waking up costs more than a small batch.
// Units: times are CLOCK_MONOTONIC, the axis of Clock::Time. Thread-safety: single-owner.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/spin_budget.h"
#include "core/status.h"
#include "core/tensor.h"
#include "ipc/channel.h"
#include "ipc/control_socket.h"
#include "ipc/region.h"
#include "ipc/unique_fd.h"

namespace evenkeel::ipc {

// Reads WorkerFds::Args() from a command line. Error: kInvalidArgument, naming what is missing or not a number.
Result<WorkerFds> ParseWorkerFds(int argc, const char* const* argv);

class WorkerEnd {
 public:
  enum class Event { kBatch, kControl, kClosed };

  // Takes the descriptors and maps the region. Errors: kInvalidArgument (not a region of this version, or its sizes lie),
  // kUnavailable.
  static Result<std::unique_ptr<WorkerEnd>> Attach(const WorkerFds& fds);

  Event Wait();

  // Blocks while the daemon does not read. Errors: kTooLarge, kUnavailable.
  Status SendControl(std::string_view message) { return control_.Send(message, true); }
  // nullopt: no whole message yet. Errors: kUnavailable (the daemon closed its end), kInternal.
  Result<std::optional<std::string>> ReceiveControl() { return control_.Receive(); }

  // After Wait() said kBatch. The views live until Finish(). Error: kInternal for descriptors that break the rules; the batch must
  // still be finished.
  Status Take(std::vector<TensorView>* inputs);
  uint64_t batch_id() const { return batch_id_; }
  // Memory for the outputs of the batch that was taken.
  std::span<std::byte> output_arena() const { return region_.output_arena(next_); }
  // Answers the batch. `outputs` point into output_arena(), ascending by spec; ignored unless status.ok().
  void Finish(const Status& status, std::span<const TensorView> outputs, Time start, Time end);

 private:
  WorkerEnd(const WorkerFds& fds);
  bool BatchIsReady() const;
  // Looks for the next batch for as long as that is likely to pay. True: it is there.
  bool Look(Time since);

  UniqueFd memory_, wake_, done_;
  ControlSocket control_;
  Region region_;
  uint32_t next_ = 0;  // the slot whose turn it is
  uint64_t batch_id_ = 0;
  SpinBudget spin_;
};

}  // namespace evenkeel::ipc
