// Which class of instance a batch goes to, for models that hold instances on the processor and on an accelerator (A2).
//
// The faster class, by items a second of one instance at its own knee, is filled first: it takes what waits whenever it can start. While it
// cannot, a batch goes to the other class if it would be done there before the first would be done with what waits:
//   other   now + T_o(min(W, N_o))
//   first   its next free instance + ceil(ceil(W / N_f) / k) T_f(min(W, N_f))
// W rows wait, N are the knees, k the first's instances; an instance that runs is free at its expected end, one that lacks cores when the next
// core is; one that is late by a whole batch is not counted on any more. And the objective still holds there for the oldest row; or it would hold in neither, and waiting longer helps nobody.
// Contract: an instance of a class that the manifest does not allow is never named. Pure. Cost: a pass over the model's instances.
// Thread-safety: thread-safe. Source: A2 ("the faster class filled first, the other taking the overflow").
#pragma once

#include "batching/policy/gate.h"
#include "batching/policy/node_policy.h"

namespace evenkeel::policy {

// What is known of a model's classes; made twice a second.
struct ClassKnees {
  int cpu = 0, gpu = 0;    // rows; 0: no instance there, or nothing is known of T
  bool gpu_first = false;  // the accelerator is the faster
  double first_rows_s =
      0;  // rows a second that all instances of the first class can serve at its knee
};

ClassKnees KneesOf(const ModelView& model, int cpu_knee);

struct Placement {
  int instance =
      -1;  // of the next batch of the lane; -1: none for now. May lack cores: the gate keeps them for it
  Time look_again = kNever;  // with -1: when one that runs would be late
};
Placement PlaceBatch(const ModelView& model, const ClassKnees& knees, const LaneView& lane,
                     const Gate& gate, Time now);

}  // namespace evenkeel::policy
