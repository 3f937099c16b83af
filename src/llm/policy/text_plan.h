// What the next step over texts computes: texts that become vectors or scores, several side by side.
//
// Contract: pure functions. PlanTexts(): a text is begun in order of age, when the cells that are left hold all of it, and none that is
//   begun is put off. Texts that may be computed in pieces share the step's tokens as prompts do: what is due first goes first (step_plan.h).
//   Those that may not (`whole`: every token sees every other) go in order of age, each in one step: the first
//   always, those behind it where they fit, so that none waits longer than what is older.
// TextTokens(): a step over texts stands between two tokens of answers. It gets what a step of answers leaves of the objective, and a
//   quarter of that step at least: a long list of texts makes no token later than that.
// Units: tokens; cells = tokens. Thread-safety: thread-safe.
#pragma once

#include <span>
#include <vector>

#include "core/clock.h"
#include "llm/policy/step_plan.h"

namespace evenkeel::policy {

struct TextWork {
  int length = 1;    // tokens in all
  int computed = 0;  // of them; > 0: it is begun and holds `length` cells
  int priority = 8;  // the least first
  double due = 0;    // DueOf()
};

struct TextLimits {
  int tokens = 512;  // of a step, at least 1
  int texts = 64;    // begun at once
  int cells = 2048;  // of all that are begun; REQUIRES: what is begun fits
  bool whole = false;
};

// `texts` by age, oldest first. Each appears at most once; empty only where there is none, or the first is longer than `cells`.
std::vector<StepShare> PlanTexts(std::span<const TextWork> texts, const TextLimits& limits);

// `step`: how long a step of answers takes, zero where nothing answers. `token_cost`: seconds a token of texts, 0: not measured.
int TextTokens(Duration objective, Duration step, double token_cost, int most);

}  // namespace evenkeel::policy
