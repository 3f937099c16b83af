// Which cells of a language model's load table are to be measured, and in which order.
//
// A cell is run as sequences of the model itself: so many with one prompt, each with kAnswers tokens. Their steps tell the table what it wants
// to know, as everybody's do.
// Order: all cores first, then one, then what lies between by powers of two; of each 1, 4 and 16 sequences, then of each all slots'. The first
//   cell of a number of threads has a prompt of kLeastPrompt tokens; once what a token costs is known, prompts have as many as fit into
//   kPromptTime, at most kMostPrompt, so that no request waits long for a step.
// Contract: a pure function of its arguments; what the table knows is not asked for again. Thread-safety: thread-safe.
#pragma once

#include <optional>

#include "llm/policy/llm_load_table.h"

namespace evenkeel::policy {

struct SweepCell {
  int threads = 1;
  int sequences = 1;
  int prompt_tokens = 16;
  bool operator==(const SweepCell&) const = default;
};

inline constexpr int kSweepAnswers = 8;  // tokens
inline constexpr int kLeastSweepPrompt = LlmLoadTable::kLeastPrompt;
inline constexpr int kMostSweepPrompt =
    112;  // with the answer still below the first class of depth
inline constexpr Duration kSweepPromptTime = std::chrono::milliseconds(100);

// nullopt: everything is known. REQUIRES: cores, slots >= 1.
std::optional<SweepCell> NextSweepCell(const LlmLoadTable& table, int cores, int slots);

}  // namespace evenkeel::policy
