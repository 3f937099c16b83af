// Decides which model of a node starts which batch on which instance, and when to ask again.
//
// Use for: all models that share a node's cores. The daemon and the simulator drive the same objects. Not for: admission,
//   expiry of deadlines, moving rows (the owner does these).
// How the owner uses it:
//   1. It keeps a NodeView up to date: a ModelView a model at a fixed index, its lanes, instances, live curve and traffic.
//   2. It calls Decide(view, now) after each arrival, completion, attach or detach, and when the last `wake_at` has come. While
//      the answer starts something, it takes the rows out of the lane, marks the instance, and asks again. It may take fewer
//      rows than it was told (a request stays together; arenas are bounded), never from another lane.
//   3. It removes rows whose deadline can no longer be met before it asks: a policy plans with what waits as it is.
// Contract: Decide() is deterministic: the same calls with the same arguments give the same answers. A start names a usable
//   instance with nothing in flight, of a class that the model's manifest allows, a lane of the same model that has rows waiting, and
//   1 <= rows <= min(waiting_rows, max_rows).
//   A gated policy never has more threads of running batches than cores less `standing` (an instance that has more counts as all cores). No
//   start and no wake_at means: nothing changes until the next arrival or completion. Times must not go back.
// Memory: at most 1 MiB a model, curve and traffic included. Cost: Decide() at most 2 us with 10 models (bench/batching_policy.cc).
// Units: sizes are rows; times are Time. Thread-safety: thread-compatible (the node's mutex); no lock, clock, log inside.
// Source: A10, A11, "The window, ours".
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "batching/policy/batch_curve.h"
#include "batching/policy/close_reason.h"
#include "batching/policy/traffic.h"
#include "core/clock.h"
#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel::policy {

// Rows that can share a batch.
struct LaneView {
  int64_t waiting_rows = 0;
  int head_rows = 1;  // of the request (or part of one) that is first in line: they stay together
  Time oldest_arrival{};
  Time newest_arrival{};
  Time earliest_deadline = kNever;
  int priority = 8;  // of the head: 1 (first) to 16 (last)
  int max_rows =
      64;  // that a batch of this lane may have: what the instance, the arena and the head's deadline allow
};

struct InstanceView {
  bool usable = true;
  int threads = 1;    // cores that a batch of it keeps busy; 0: none, for an accelerator
  int in_flight = 0;  // batches given to it and not answered
  Time busy_until{};  // expected end of what runs; of no meaning while in_flight == 0
  DeviceClass device = DeviceClass::kCpu;  // kCpu or kGpu
};

struct ModelView {
  std::span<const LaneView> lanes;  // those that are empty may be left out or have waiting_rows = 0
  std::span<const InstanceView> instances;
  DeviceClass device =
      DeviceClass::kCpu;              // what the manifest allows; kAuto: instances of both classes
  const BatchCurve* curve = nullptr;  // on the processor; null or empty: nothing is known of T yet
  const BatchCurve* device_curve = nullptr;  // the same on an accelerator
  Traffic* traffic = nullptr;                // null: nothing is known of the arrivals
  Duration objective{};                      // p99 that is asked for; > 0
  int max_batch = 64;                        // rows: the largest size in use, whatever waits
  int device_max_batch = 64;                 // the same on an accelerator
  bool draining = false;                     // no wait: the model is being unloaded
  int best_batch = 0;  // `method` only: Y_batch of the model's load table; 0: there is none
  // `fixed` only.
  Duration max_delay{};
  std::span<const int> preferred_sizes;  // ascending
  // `oracle` only: times of later arrivals, ascending, a row each.
  std::span<const Time> later_arrivals;
};

struct NodeView {
  std::span<const ModelView> models;
  int cores = 1;              // that batches may use together, and language models
  bool save_power = false;    // `power: save`: waits within the objectives for core time
  int standing = 0;           // of the cores, held by language models or kept for them now
  double standing_share = 0;  // that these are entitled to while everybody wants all
};

struct Decision {
  bool start = false;
  int model = 0;  // index into NodeView::models
  int lane = 0;   // index into its lanes
  int instance = 0;
  int64_t rows = 0;
  CloseReason reason = CloseReason::kIdle;
  Time wake_at = kNever;  // if nothing is started: ask again then
};

// What a policy thinks of one model: for `top`, GET .../batching, metrics and tests.
struct ModelOutlook {
  int knee = 0;               // rows; 0: the policy has none
  int device_knee = 0;        // the same on an accelerator
  bool device_first = false;  // the accelerator is the faster class, and filled first
  double device_rows_s = 0;   // rows a second that it can then serve
  int target = 0;             // rows; 0: the policy has none
  double price = 0;           // of core time, in objectives per core-second
  int most = 0;               // rows that are run while the model is behind; >= knee
  double rate_rps = 0;        // rows a second that the target was computed for
  double stretch = 1;  // cores its instances could use over those it can count on; see admission.h
  bool guarded = false;  // the guard keeps the price at 0
  // The window as last decided: its right bound in rows, 0: the policy has none; of `method` also in time.
  int64_t right_rows = 0;
  Time left{};          // `method`: arrival of the row at the left bound
  Time right = kNever;  // `method`: when the window closes at the latest
};

class NodePolicy {
 public:
  virtual ~NodePolicy() = default;
  virtual Decision Decide(const NodeView& node, Time now) = 0;
  virtual std::string_view name() const = 0;
  // Model `index` is another one from now on, or gone: what was remembered of it is dropped.
  virtual void Forget(int /*index*/) {}
  virtual ModelOutlook Outlook(int /*index*/) const { return {}; }
};

inline constexpr double kRatioThreshold = 0.8;

// What the operator sets for all models of a node.
struct PolicySettings {
  double ratio_threshold = kRatioThreshold;  // A5's delta: `method` only; above 0, at most 1
  // `auto` only, for simulation: the price of core time, in objectives a core-second, in place of the one that the load gives.
  std::optional<double> price = {};
};

// `auto`, `method`, `none`, `greedy`, `fixed`, `gated-greedy`, `cork`, `oracle`; kInvalidArgument names them.
Result<std::unique_ptr<NodePolicy>> MakeNodePolicy(std::string_view name,
                                                   const PolicySettings& settings = {});
std::span<const std::string_view> NodePolicyNames();

}  // namespace evenkeel::policy
