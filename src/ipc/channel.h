// The daemon's end of the shared-memory channel to one worker.
//
// Contract: slots are used in turn (0, 1, 0, 1 ...): Submit() takes the next one, Poll() answers in the order of submission.
//   Control messages (load, loaded, failed; JSON text up to 1 MiB) go over a SOCK_SEQPACKET socket whose end-of-file means that the worker is gone.
// Ownership: views returned by Poll() point into the slot and live until Release(slot).
// Thread-safety: single-owner, except that input_arena() memory of a slot the caller has reserved may be written from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "core/tensor.h"
#include "ipc/frame.h"

namespace evenkeel::ipc {

struct Completion {
  uint32_t slot = 0;
  uint64_t batch_id = 0;
  Status status;                    // the engine's; or kInternal when the worker wrote nonsense
  std::vector<TensorView> outputs;  // spec indexes Signature::outputs; empty unless status.ok()
  Duration compute{};               // Engine::Run, by the worker's clock
  Time started{};  // start of compute (CLOCK_MONOTONIC is common to both processes)
};

// The worker's descriptors, inherited across exec and named on its command line.
struct WorkerFds {
  int memory = -1, wake = -1, done = -1, control = -1;
  bool spin =
      false;  // the worker may look for its next batch for a while before it sleeps: it has a core to itself

  // "--memory 5 --wake 6 ...": what ParseWorkerFds (worker_end.h) reads back.
  std::vector<std::string> Args() const;
};

class Channel {
 public:
  // Makes the region, both eventfds and the socket pair. Errors: kUnavailable (no descriptors or memory), with errno's text.
  static Result<std::unique_ptr<Channel>> Create(const Layout& layout);
  virtual ~Channel() = default;

  virtual WorkerFds worker_fds()
      const = 0;                       // close-on-exec is set: the spawner clears it in the child
  virtual void CloseWorkerEnds() = 0;  // after the spawn, so that end-of-file works

  virtual int control_fd() const = 0;
  virtual int done_fd() const = 0;
  // Does not block. Errors: kTooLarge (over 1 MiB), kUnavailable (the worker is gone, or has not read 150 KiB sent before).
  virtual Status SendControl(std::string_view message) = 0;
  // nullopt: nothing there. Error kUnavailable: the worker closed its end.
  virtual Result<std::optional<std::string>> ReceiveControl() = 0;

  // What the loaded model gives. From then on Poll() answers kInternal for results of another count, dtype, rank or fixed size;
  // before, results are held only to the rules of ReadDescs and to ascending specs.
  virtual void Expect(std::span<const TensorSpec> outputs) { static_cast<void>(outputs); }

  // Slots that Reserve() can give now (0 to kSlots): slots go in turn, so one that is still held also keeps those after it.
  virtual int free_slots() const = 0;
  // Reserves the next slot. REQUIRES: free_slots() > 0. Abandon() undoes it (only for the latest reserved).
  virtual uint32_t Reserve() = 0;
  virtual void Abandon(uint32_t slot) = 0;
  virtual std::span<std::byte> input_arena(uint32_t slot) = 0;
  // Publishes the reserved slot and wakes the worker. REQUIRES: `inputs` point into input_arena(slot), each at a multiple of kAlign.
  virtual void Submit(uint32_t slot, uint64_t batch_id, std::span<const TensorView> inputs) = 0;

  // Resets the done eventfd. Call when done_fd() is readable, before Poll().
  virtual void DrainDone() = 0;
  // The oldest submitted slot's result, if there.
  virtual std::optional<Completion> Poll() = 0;
  virtual void Release(uint32_t slot) = 0;
};

}  // namespace evenkeel::ipc
