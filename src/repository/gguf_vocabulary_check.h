// Whether a GGUF file's tokenizer holds together: tokens, what belongs to each, the ids that have a role, the templates.
//
// Thread-safety: thread-compatible.
#pragma once

#include "core/status.h"
#include "repository/byte_source.h"
#include "repository/gguf_facts.h"
#include "repository/gguf_metadata.h"

namespace evenkeel {

inline constexpr uint64_t kMaxGgufVocabulary = uint64_t{1} << 20;  // tokens
inline constexpr uint64_t kMaxGgufTokenBytes = 65'536;             // of one token's text
inline constexpr uint64_t kMaxGgufMerges = uint64_t{1} << 22;
inline constexpr uint64_t kMaxGgufTemplateBytes = uint64_t{1} << 20;

// Reads the keys "tokenizer.*" into `facts`. Ok when there are tokens, none twice (empty ones aside), with a score and a type
// for each where there are scores and types; merges are texts; ids "tokenizer.ggml.*_token_id" are below the vocabulary; and
// chat templates are UTF-8. Errors name the key.
Status CheckGgufVocabulary(ByteSource& source, const GgufMetadata& metadata, GgufFacts* facts);

}  // namespace evenkeel
