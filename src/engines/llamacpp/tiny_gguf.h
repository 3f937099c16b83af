// Tiny models with random weights, written for tests: what they say means nothing, but they compute as large ones do.
//
// Contract: the same settings give the same file. Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/pooling.h"

namespace evenkeel {

struct TinyGguf {
  bool encoder = false;  // BERT with words as its vocabulary; else a Llama with bytes
  std::optional<Pooling> pooling = std::nullopt;  // what the file says of it
  bool head = false;                              // a classification head with one score
  int context = 256;                              // tokens
  std::string pair = {};  // its template for a query and a document; empty: none
  uint32_t seed = 1;
};

inline constexpr int kTinyWidth = 64;        // numbers of a vector
inline constexpr int kTinyVocabulary = 320;  // token ids from 5 on are text

// Writes it to `path`. Aborts where that fails.
void WriteTinyGguf(const TinyGguf& model, const std::string& path);

}  // namespace evenkeel
