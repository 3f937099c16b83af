// The dispatcher's own records: instances, batches, and what is to be done once the mutex is released.
//
// Not for use outside dispatcher*.cc. Thread-safety: guarded by Dispatcher::mutex_, except a Batch's `views` and arena, which belong to
// the thread that gathers it.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "batching/dispatcher.h"

namespace evenkeel {

struct Dispatcher::Batch {
  uint64_t id = 0;
  Instance* instance = nullptr;
  ipc::Channel* channel = nullptr;
  uint32_t slot = 0;
  std::span<std::byte> arena;
  bool untouched = false;    // the arena has held warm-ups only
  std::vector<Part*> parts;  // empty: a warm-up
  int rows = 0, run_rows = 0;
  size_t bytes = 0;  // of the parts in the arena
  CloseReason reason = CloseReason::kIdle;
  DeviceClass device = DeviceClass::kCpu;  // of its instance, which may be gone when it is recorded
  Time closed{};                           // taken from the queue
  Time front_since = kNever;               // when it came to run (not behind another)
  bool lay_ready = false;                  // was submitted while another ran
  Time due = kNever;                       // earliest deadline among its requests without an answer
  Duration oldest_wait{}, gather{};
  Duration held{};  // from when it came to run to its collection
};

// Sizes still to be run: those that batches grow by (required, before the instance serves if time allows), and those that save
// padding (optional, only while nothing else is to be done). Both ascend.
struct WarmPlan {
  std::deque<int> required, optional;
  std::set<int> warm;  // sizes that may be used
  bool exact = false;  // shapes vary or warming failed: any size is run as it is
  int current = 0;     // size that is being measured
  int runs = 0;        // of it: the first compiles, the others give T
  Duration first_run{}, best_run{};
  Duration compilation{};  // what the first run of the last size took beyond its T
  Duration spent{};

  bool Has(int rows) const {
    return (!required.empty() && required.front() == rows) ||
           (!optional.empty() && optional.front() == rows);
  }
  void Drop(int rows) {
    std::erase(required, rows);
    std::erase(optional, rows);
  }
  void DropFrom(int rows) {
    for (auto* sizes : {&required, &optional})
      std::erase_if(*sizes, [=](int s) { return s >= rows; });
  }
};

struct Dispatcher::Instance {
  int id = 0;
  ipc::Channel* channel = nullptr;         // null: detached
  DeviceClass device = DeviceClass::kCpu;  // kCpu or kGpu
  int threads = 1;                         // cores that a batch keeps busy
  int max_rows = 1;                        // of a batch
  bool usable = false;                     // warmed enough to serve
  bool retired = false;                    // gets no batches any more
  std::function<void()> on_retired;        // to be called once nothing of it is in flight
  bool last_was_warm = false;
  int gathering = 0;  // batches being filled, by any thread; Detach waits for them
  std::deque<std::unique_ptr<Batch>> inflight;
  WarmPlan plan;
  Time last_end{};                          // of its latest batch, by the worker's clock
  std::array<bool, ipc::kSlots> touched{};  // slots that have held requests
};

struct Dispatcher::Actions {
  std::vector<Batch*> gather;                   // reserved, to be filled and submitted
  std::vector<std::unique_ptr<Request>> ended;  // closed, to be answered
  // Closed while parts of them are still in batches: the records stay the dispatcher's.
  struct Failed {
    InferCall* call = nullptr;
    Status status;
    Timings timings;
  };
  std::vector<Failed> failed;
  std::vector<std::function<void()>> calls;  // hooks
};

}  // namespace evenkeel
