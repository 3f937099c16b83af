// Whether a GGUF file's numbers make a model: blocks, context, widths and heads.
//
// Use for: what an engine would divide by, allocate or index with before it looks at the tensors.
// Thread-safety: thread-compatible.
#pragma once

#include "core/status.h"
#include "repository/gguf_facts.h"
#include "repository/gguf_metadata.h"

namespace evenkeel {

inline constexpr uint64_t kMaxGgufBlocks = 512;                   // what llama.cpp has room for
inline constexpr uint64_t kMaxGgufContext = uint64_t{1} << 24;    // tokens
inline constexpr uint64_t kMaxGgufEmbedding = uint64_t{1} << 20;  // numbers a token
inline constexpr uint64_t kMaxGgufHeads = uint64_t{1} << 16;

// Reads the keys "ARCHITECTURE.*" into `facts`. REQUIRES: facts->architecture is set. Errors name the key.
Status CheckGgufShape(const GgufMetadata& metadata, GgufFacts* facts);

}  // namespace evenkeel
