// The core gate: which instances may start a batch while a node's cores are shared, and who is next.
//
// Rules: a batch of k threads takes k of the node's cores until it ends, and none starts without them (an instance with more
//   threads than cores counts as all of them). Of the models that are ready the one with the largest
//     urgency = (now - its oldest arrival) / O
//   is next. If its instance needs more cores than are free, others may pass it only while its urgency is below kPatience:
//   beyond that the cores that come free are kept for it, so that wide instances are not starved by narrow ones.
//   An accelerator's batch takes the cores that its instance says (none, as a rule): with 0 it starts whatever runs on the cores, and
//   is never kept back for a wide one.
// Units: threads, rows. Thread-safety: thread-safe (pure functions). Source: "The window, ours", core gate.
#pragma once

#include "batching/policy/node_policy.h"

namespace evenkeel::policy {

inline constexpr double kPatience = 0.25;

// Threads of running batches, each instance counted as at most `cores`.
int ThreadsInUse(const NodeView& node);

// Whether the manifest lets batches of the model run there.
inline bool Allows(const ModelView& model, DeviceClass device) {
  return model.device == DeviceClass::kAuto || model.device == device;
}

// The narrowest usable instance with nothing in flight, of a class that is allowed; -1: none.
int IdleInstance(const ModelView& model);
// The same of one class.
int IdleInstance(const ModelView& model, DeviceClass device);

// T where the model has it: on the processor, else on an accelerator; null: nothing is known.
const BatchCurve* KnownCurve(const ModelView& model);

// Threads of the model's first instance on the processor; 1: it has none.
int CpuThreads(const ModelView& model);

// The lane that is served next: of the best priority, then the oldest arrival; -1: nothing waits.
int NextLane(const ModelView& model);

inline double Urgency(const LaneView& lane, Duration objective, Time now) {
  return Seconds(now - lane.oldest_arrival) / Seconds(objective);
}

// Collects the models that are ready and picks one of them.
class Gate {
 public:
  explicit Gate(const NodeView& node);
  // At least one core is free, or an accelerator that needs none.
  bool open() const { return free_ > 0 || coreless_; }
  // Whether the instance's batch may start as far as cores go.
  bool Fits(const InstanceView& instance) const;
  // When the next core comes free, as far as that is known; the past: one is.
  Time next_core() const { return free_ > 0 ? Time{} : next_core_; }
  // `candidate` names model, lane, instance, rows and reason.
  void Offer(const Decision& candidate, double urgency);
  // The most urgent candidate that fits; start == false: none. `wake_at` is the caller's.
  Decision Pick() const;

 private:
  struct Best {
    Decision decision;
    double urgency = -1;
  };
  const NodeView& node_;
  int free_;
  bool coreless_ = false;    // an idle instance needs no core
  Time next_core_ = kNever;  // the first expected end among those that run
  Best fits_;                // the most urgent one that fits into the free cores
  Best wide_;                // the most urgent one that does not
  Best coreless_best_;       // the most urgent one that needs no core
};

}  // namespace evenkeel::policy
