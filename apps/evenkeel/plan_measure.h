// Measures, on purpose, what a plan of the running cluster stands on and nobody has measured: few pairs of a model and a node (B5).
//
// How it goes: of the pairs that the plan names as worth measuring (plan_document.h) the first that was not tried yet: the model is deployed there beside where it serves,
//   gets its part of the calls until the server tells what it takes, and leaves. Then a plan is made anew, which may name others. What was measured stays known for a day.
// Contract: prints each pair as it goes on stderr, and a table of predictions and measurements on stdout. What it brought to a node it takes away again, also when a call fails or Ctrl-C comes (then
//   exit code 130): once it has arrived, for what is on its way can't be taken; a second Ctrl-C leaves it there, which is said. What served there before stays, and so do files that were there. A pair that
//   can't be measured is said, and the next one taken. Nothing of it counts as wanted replicas. With `cluster.replan: auto` a plan of those moments may keep what was brought.
// Throws CLI::RuntimeError as the verbs do. Thread-safety: main thread only. Source: issue S4; cluster/policy/measurement_design.h has the policy.
#pragma once

#include "api.h"
#include "core/clock.h"

namespace evenkeel {

// `most`: pairs, >= 1. `wait`: for a model on its node, and then for what it takes there.
void MeasurePairs(const Api& api, int most, Duration wait);

}  // namespace evenkeel
