// When a sequence that comes now would begin, by what those before it are expected to take.
//
// Sequences run in `slots` side by side, one token of each a step; who waits takes the first slot that comes free, in order.
// Contract: pure. The answer is a number of tokens' steps: the one that comes now begins once a slot is free and all who wait have one.
//   0 where a slot is free now. Time: the sequences' number times the logarithm of the slots.
// Units: tokens (of answers, of which a step gives each running sequence one). Thread-safety: thread-safe.
#pragma once

#include <span>

namespace evenkeel::policy {

// `running`: what each running sequence has yet to answer, at most `slots` of them; `waiting`: the same of those that wait, in their order.
// REQUIRES: slots >= 1.
double StepsUntilFree(std::span<const double> running, std::span<const double> waiting, int slots);

}  // namespace evenkeel::policy
