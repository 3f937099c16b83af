// One inference call, as protocols hand it to the scheduler and as the scheduler answers it.
//
// Ownership: the front end owns the InferCall and every byte its inputs point at until Done() has been called, which
// happens exactly once for each Infer() that was accepted or refused (or GivenBack(), in its place). The outputs given to Done() live only during that call: they may be in
// shared memory of a worker (serialise them there: that is the one copy out).
// Thread-safety: Done() may run on any thread, also inside Infer(); never under a lock of the scheduler.
#pragma once

#include <span>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

// Where the time of one request went. Reported as Server-Timing and in statistics.
struct Timings {
  Duration queue{};    // arrival to being taken into a batch
  Duration batch{};    // from there to the start of compute (gathering, waiting for the worker)
  Duration compute{};  // in the engine
  int batch_rows = 0;  // rows of the batch that carried it (of its last part when split)
};

class InferCall {
 public:
  virtual ~InferCall() = default;

  // Inputs in any order, each spec at most once; the scheduler checks them against the signature.
  std::vector<TensorView> inputs;
  Time arrived{};          // when the request was read
  Time deadline = kNever;  // after it, waiting items are answered kDeadlineExceeded
  int priority = 0;        // 0: the model's default; else 1 (first) to 16 (last)
  bool movable =
      false;  // while it waits, GivenBack() may end it: whoever sent it can run it elsewhere
  void* scheduler_state =
      nullptr;  // the scheduler's own while it holds the call; front ends leave it alone

  // `outputs` is empty unless status.ok(); then it has one view a Signature::outputs entry, in that order.
  virtual void Done(const Status& status, std::span<const TensorView> outputs,
                    const Timings& timings) = 0;
  // Instead of Done(), for a movable call that nothing was computed for.
  virtual void GivenBack() {
    Done(Status(Code::kUnavailable, "another server is to take it"), {}, {});
  }
};

}  // namespace evenkeel
