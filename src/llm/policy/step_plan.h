// What the next step of a language model computes: one token of every sequence that answers, and pieces of prompts.
//
// Contract: a pure function of its arguments. Every answering sequence gets its token (they are never held up by prompts). Prompts share
//   `prompt_budget` tokens: half goes to the oldest, so that each prompt ends, the rest to the one with the least left, then to the next, so
//   that a short prompt does not wait behind a long one. What nobody else needs goes to the oldest.
// Units: tokens. Thread-safety: thread-safe. Source: issue S3; differs from filling the batch in order of arrival, where first tokens wait
//   behind whole prompts.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace evenkeel::policy {

struct StepSequence {
  bool answers = false;  // its prompt is computed
  int prompt_left = 0;   // tokens; >= 1 unless `answers`
};

struct StepLimits {
  int batch = 512;          // tokens that a step may hold, at least the number of sequences
  int prompt_budget = 512;  // of them from prompts; at least 1
};

struct StepShare {
  size_t sequence = 0;  // index into what PlanStep() was given
  int tokens = 0;       // >= 1
  bool operator==(const StepShare&) const = default;
};

// `sequences` by age, oldest first. Each appears at most once in the answer; answering ones come first.
std::vector<StepShare> PlanStep(std::span<const StepSequence> sequences, const StepLimits& limits);

}  // namespace evenkeel::policy
