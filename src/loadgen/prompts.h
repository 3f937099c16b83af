// Requests for language models: prompts of a given number of tokens, and lengths from a trace.
//
// A prompt is common English words, each a token in the usual vocabularies; what it really was is in the server's `usage`. Prompts are
//   drawn word by word, so two of them share no beginning worth keeping.
// Contract: the same seed gives the same prompts. Errors (kInvalidArgument, those of reading a file) name file and line.
// Units: tokens. Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "loadgen/arrivals.h"

namespace evenkeel::loadgen {

inline constexpr int kMostPromptTokens = 1 << 20;

// Of one request.
struct TextLengths {
  int prompt_tokens = 64;  // >= 1
  int output_tokens = 64;  // >= 1
  bool operator==(const TextLengths&) const = default;
};

// From a CSV file with the columns `prompt_tokens` and `output_tokens`, plain or gzip; others are passed over. An answer of 0 tokens counts
// as one of 1. `context` > 0: answers are cut to half of it, then prompts, so that both fit.
Result<std::vector<TextLengths>> ReadLengthsFile(const std::string& path, int context);
Result<std::vector<TextLengths>> ParseLengths(std::string_view text, std::string_view name,
                                              int context);

enum class TextApi : uint8_t { kCompletions, kChat };

struct TextRequest {
  std::string model;
  TextApi api = TextApi::kCompletions;
  double temperature = 0;
  bool natural_end = false;  // the answer may end before its length
};

std::string MakePrompt(int tokens, Rng* rng);
// The JSON body of a streamed request that asks for usage.
std::string TextBody(const TextRequest& request, const TextLengths& lengths, Rng* rng);

}  // namespace evenkeel::loadgen
