// The fields that all requests for text share: how tokens are drawn, when an answer ends, what it may look like.
//
// Names and ranges as OpenAI has them; beyond those: top_k, min_p, repeat_penalty (also repetition_penalty), ignore_eos, grammar (GBNF)
// and truncation ("auto": a prompt beyond the context loses its beginning).
// Contract: what is read is within the ranges of core/generation.h; what depends on the model (ids below its vocabulary, max_tokens
//   within its context) is checked by CheckAgainst().
// Thread-safety: thread-safe.
#pragma once

#include <span>

#include "core/generation.h"
#include "frontends/openai_fields.h"

namespace evenkeel {

inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 1024;
inline constexpr size_t kMaxGrammarBytes = 64 * 1024;
inline constexpr size_t kMaxSchemaBytes = 256 * 1024;
inline constexpr int kMaxChoices = 128;
inline constexpr int kMaxTokens = 1 << 30;

std::span<const JsonField<GenerationRequest>> SamplingFields();

// Reads `value` with the sampling field of that name, if there is one (`*found`).
ApiError ReadSamplingField(std::string_view name, const JsonElement& value, const std::string& path,
                           GenerationRequest* out, bool* found);

ApiError CheckAgainst(const LanguageModelInfo& model, const GenerationRequest& request);

}  // namespace evenkeel
