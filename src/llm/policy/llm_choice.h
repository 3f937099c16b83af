// What a language model runs on: threads, sequences side by side, tokens in its cache, and where the budget of prompts begins. Chosen from its
// load table, the forecast and the objectives; each with a line that says why.
//
// Rules
//   Sequences expected: the least b whose rate  b / (A T(b) + b P c)  is at least the forecast of arrivals: A and P being the mean answer and
//     prompt in tokens, c the time of a prompt token; else all slots.
//   Threads: of those that the table knows, the least with which a step of the expected sequences takes at most kNearBest times the least
//     time; `power: save`, and whenever other models want cores (`least_threads`): the fewest that keep the objective from token to token.
//   Slots: with an objective from token to token, the most sequences whose step T(b) keeps it. Without one, the knee: as many as still
//     make a sequence at least kKnee cheaper, but at least kUnstatedSlots. At least 1, at most kMostSlots.
//   Cells: slots times the length (prompt and answer) that 9 of 10 sequences do not exceed, twice over, so that beginnings stay; at
//     least one whole context, at most all slots' contexts and what the memory allows. Before lengths are known: as it is.
//   What the operator set stands, and says so.
// Contract: a pure function of its arguments. Nothing is chosen of what nothing is known of: the present value stays.
// Units: tokens, seconds, bytes. Thread-safety: thread-safe. Source: issue S3, "the loop of A for sequences".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/clock.h"
#include "llm/policy/llm_load_table.h"

namespace evenkeel::policy {

inline constexpr double kNearBest = 1.05;
inline constexpr double kKnee = 0.05;
inline constexpr int kUnstatedSlots = 16;
inline constexpr int kMostSlots = 64;

struct LlmForecast {
  double arrivals_s = 0;      // sequences a second
  double prompt_tokens = 0;   // of one, mean; 0: not known
  double answer_tokens = 0;   // of one, mean; 0: not known
  int64_t long_sequence = 0;  // prompt and answer that 9 of 10 do not exceed; 0: not known
};

struct LlmObjectives {
  std::optional<Duration> first_token, inter_token;  // as stated
};

struct LlmLimits {
  int cores = 1;               // of the node
  bool save_power = false;     // fewest cores rather than shortest steps
  int64_t context = 0;         // tokens of one sequence at most
  int64_t memory_bytes = 0;    // that the cache may have; 0: not known, the cache does not grow
  std::optional<int> threads;  // as the operator set them
  std::optional<int> slots;
  std::optional<int64_t> cells;
};

// As it runs now.
struct LlmPresent {
  int threads = 1;
  int slots = kUnstatedSlots;
  int64_t cells = 0;
  int depth = 0;  // tokens of a running sequence, mean
};

struct LlmChoice {
  int threads = 1;
  int least_threads = 1;  // that keep the objective; <= threads
  int slots = 1;
  int64_t cells = 0;
  int expected = 1;           // sequences side by side
  double step_s = 0;          // of the slots' answers, on `threads`; 0: not known
  double prompt_token_s = 0;  // 0: not known
  std::string threads_why, slots_why, cells_why, budget_why;
};

// What a worker with so many cells needs, with room for what was not seen while it was measured: a quarter more and 128 MiB. 0: not known.
int64_t WorkerBytes(const LlmMemory& memory, int64_t cells);
// What its container is held to when it needs so much and is held to `present` (0: to nothing): multiples of 64 MiB. More as soon as more is
// needed, less only below three quarters, so that it doesn't follow every look at what is used. 0: nothing is known.
int64_t ContainerBytes(int64_t needed, int64_t present);

LlmChoice ChooseLlm(const LlmLoadTable& table, const LlmForecast& forecast,
                    const LlmObjectives& objectives, const LlmLimits& limits,
                    const LlmPresent& present);

}  // namespace evenkeel::policy
