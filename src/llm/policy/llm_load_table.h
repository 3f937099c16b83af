// What a step of a language model costs on this machine: measured, by threads, sequences that answer, tokens that each has, and prompt tokens.
//
// Use for: choosing threads, slots and cache, predicting waits. Not for: which prompts are next in a step (step_plan.h).
// A row is either of answers alone (`sequences` > 0, no prompt tokens: the time of a step) or of prompts alone (no sequences: the time of a step
//   of so many prompt tokens). A step of both tells of the row of prompts what it took beyond the row of its answers, once that is known.
// Contract: Observe() keeps, a cell, a robust mean: after kFirst steps the weight of a new one is at most 1/kRemembered, and what is further than
//   kReach mean deviations from the mean counts as that far, so that a stall moves it little and a lasting change is followed; among the first
//   steps one that takes less than half of the mean shows that those before were stalls, and they are forgotten. Cells: sequences as they are up to 32, then in eights; depth and prompt tokens up to the next power of two, from 128 and 16 on; a prompt's time is scaled
//   to its cell's size. At most kMostRows rows: a further one takes the place of the one that was observed least recently.
//   StepSeconds() answers for any number of sequences as BatchCurve does: of each number the row of the nearest depth; between two the line;
//   above the largest in proportion. Figures of other numbers of threads are never used for it. 0: nothing is known.
// Units: tokens, seconds a step. Thread-safety: thread-compatible; no clock inside. Source: issue S3, "the loop of A for sequences" (A4, A7).
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "batching/policy/batch_curve.h"
#include "core/clock.h"

namespace evenkeel::policy {

struct StepCell {
  int threads = 1;
  int sequences = 0;  // that answer; 0: a row of prompts
  int depth = 0;      // tokens that a sequence has, mean of those that answer; 0 in rows of prompts
  int prompt_tokens = 0;  // 0: a row of answers
  auto operator<=>(const StepCell&) const = default;
};

struct StepRow {
  StepCell cell;
  double mean_s = 0;    // of a step
  double spread_s = 0;  // mean absolute deviation
  int64_t steps = 0;    // that it comes from
};

// Bytes of a worker; 0: not known.
struct LlmMemory {
  int64_t weight_bytes = 0;
  int64_t cell_bytes = 0;  // of a token in the cache
  int64_t other_bytes =
      0;  // compute buffers and the rest: what is resident beyond weights and cells
};

class LlmLoadTable {
 public:
  static constexpr int64_t kFirst = 8;
  static constexpr int64_t kRemembered = 32;
  static constexpr double kReach = 4;
  static constexpr size_t kMostRows = 512;
  static constexpr int kLeastPrompt = 16;  // tokens: with fewer a step tells nothing of prompts

  // The row that such a step belongs to. REQUIRES: threads >= 1, the rest >= 0.
  static StepCell CellOf(const StepCell& step);

  // A step of `step.sequences` answers and `step.prompt_tokens` beside them. One that took no time, or did nothing, is ignored.
  void Observe(const StepCell& step, Duration took);
  // A row that was kept. REQUIRES: a cell as CellOf() gives it, mean_s > 0, steps >= 1.
  void Put(const StepRow& row);

  bool empty() const { return rows_.empty(); }
  std::vector<StepRow> rows() const;  // by cell
  // Numbers of threads that rows of answers are known for, ascending.
  std::vector<int> Threads() const;
  // Whether the cell of such a step was observed often enough to go by.
  bool Knows(const StepCell& step, int64_t steps = 2) const;

  // What was not observed since mark() gave this is forgotten: the machine has changed.
  void ForgetBefore(uint64_t mark);
  uint64_t mark() const { return observations_; }

  double StepSeconds(int threads, int sequences, int depth) const;
  // Of a prompt token in steps of `prompt_tokens`: of the row of the nearest size.
  double PromptTokenSeconds(int threads, int prompt_tokens) const;

  LlmMemory memory;

 private:
  struct Kept {
    StepRow row;
    uint64_t stamp = 0;  // observations_ when it was observed last
  };
  Kept* Find(const StepCell& cell);
  const Kept* Find(const StepCell& cell) const;
  void Record(const StepCell& cell, double seconds);
  BatchCurve CurveOf(int threads, int depth) const;

  std::vector<Kept> rows_;  // by cell
  uint64_t observations_ = 0;
};

}  // namespace evenkeel::policy
