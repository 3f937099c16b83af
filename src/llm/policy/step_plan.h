// What the next step of a language model computes: one token of every sequence that answers, and pieces of prompts.
//
// Contract: pure functions of their arguments. Every answering sequence gets its token (they are never held up by prompts). Prompts have
//   `prompt_budget` tokens, which go to those of the first priority, and among these to the one that is due first, then to the next.
//   A prompt is due once it has been there for kLengths times as long as it takes by itself: a short one does not wait behind a long one,
//   and a long one is passed by short ones of its priority until it is due, not longer. One of a later priority waits as long as there are
//   others.
// Units: tokens; seconds. Thread-safety: thread-safe. Source: issue S3, earliest due date first; differs from filling the batch in order of
//   arrival, where first tokens wait behind whole prompts.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace evenkeel::policy {

struct StepSequence {
  bool answers = false;  // its prompt is computed
  int prompt_left = 0;   // tokens; >= 1 unless `answers`
  int priority = 8;      // of its prompt: the least first
  double due = 0;        // of its prompt: DueOf(), on one clock for all
};

inline constexpr double kLengths = 8;

// `came`: seconds on any clock. `tokens`: that are to be computed in all, each `token_cost` seconds by itself (0: not known, then due at once).
constexpr double DueOf(double came, int tokens, double token_cost) {
  return came + kLengths * tokens * token_cost;
}

struct StepLimits {
  int batch = 512;          // tokens that a step may hold, at least the number of sequences
  int prompt_budget = 512;  // of them from prompts; at least 1
};

struct StepShare {
  size_t sequence = 0;  // index into what PlanStep() was given
  int tokens = 0;       // >= 1
  bool operator==(const StepShare&) const = default;
};

// Those that are due at the same time go in the order of `sequences`. Each appears at most once in the answer; answering ones come first.
std::vector<StepShare> PlanStep(std::span<const StepSequence> sequences, const StepLimits& limits);

}  // namespace evenkeel::policy
