// Decides when the rows that wait become the next batch: a pure function of (queue, instance, now).
//
// Use for: one lane (rows that can share a batch) against one instance. Not for: choosing among lanes or models (Dispatcher).
// Contract: Decide() has no state, clock, lock or log; the same arguments give the same answer. take_rows is 0 (wait) or 1 to
//   min(waiting_rows, max_batch). When it is 0 and the answer could change by time alone, wake_at says when to ask again.
// Units: sizes are rows; times are Time. Thread-safety: thread-safe (const, stateless).
// Source: A10, A11; the self-tuning policy joins behind this interface.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "batching/policy/close_reason.h"
#include "core/clock.h"
#include "core/model_config.h"

namespace evenkeel {

// One lane: rows that can share a batch.
struct LaneView {
  int64_t waiting_rows = 0;  // > 0
  int head_rows =
      0;  // rows of the request (or part of one) that is first in line; they stay together
  Time oldest_arrival{}, newest_arrival{};
  Time earliest_deadline = kNever;
  bool others_wait = false;  // another lane of the model has rows waiting
};

struct InstanceView {
  bool idle =
      true;  // nothing runs; false: a slot is free but a batch runs, so waiting costs nothing
  int max_batch = 1;  // rows
  bool draining = false;
  Duration batch_time{};  // expected T of a batch of what waits now; 0: unknown
};

struct Decision {
  int64_t take_rows = 0;
  CloseReason reason = CloseReason::kIdle;
  Time wake_at = kNever;
};

class Window {
 public:
  virtual ~Window() = default;
  virtual Decision Decide(const LaneView& lane, const InstanceView& instance, Time now) const = 0;
  virtual std::string_view name() const = 0;
};

// auto: as greedy (a node's policy takes its place where there is one, see NodeScheduler). none: one request at a time. greedy: takes what waits when an instance is free; a full batch also while one runs.
// fixed: waits for `max_batch` rows (or a preferred size), at most `max_delay` after the oldest arrival.
std::unique_ptr<Window> MakeWindow(const BatchingConfig& config);

}  // namespace evenkeel
