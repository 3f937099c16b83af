// What becomes of a text's token vectors: which pooling a model has, and one vector of many.
//
// Contract: pure. Choose() is a function of its arguments; Pooled takes a text's rows in order and keeps one row or a sum, whatever the
//   text's length. Thread-safety: thread-compatible.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/pooling.h"
#include "core/status.h"

namespace evenkeel::policy {

// What decoders that say nothing do: see docs/operations.md for why.
inline constexpr Pooling kDecoderPooling = Pooling::kLast;

struct PoolingFacts {
  std::optional<Pooling> asked;  // by the manifest
  std::optional<Pooling> file;   // by the GGUF
  bool encoder = false;          // all tokens see each other, nothing is generated
  bool head = false;             // the file has a classification head with one score
};

struct PoolingChoice {
  Pooling pooling = Pooling::kNone;
  bool generates = true;  // false of encoders, and of files that were made for vectors or scores
};

// Error kInvalidArgument: `rank` without a head.
Result<PoolingChoice> ChoosePooling(const PoolingFacts& facts);

class Pooled {
 public:
  explicit Pooled(Pooling pooling) : pooling_(pooling) {}  // REQUIRES: Embeds(pooling)

  void Add(std::span<const float> row);
  // Of length 1. Error kInternal: no row came, or numbers that are not finite or all zero.
  Result<std::vector<float>> Unit() const;

 private:
  const Pooling pooling_;
  std::vector<double> sum_;  // or the row that counts
};

}  // namespace evenkeel::policy
