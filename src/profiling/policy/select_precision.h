// Which precision a model is served in, of those that its table has rows for.
//
// Contract: f32 unless the operator allows more: `precision: bf16` in the manifest gives bf16 whatever the difference; `precision: auto`
//   gives it where every ok bf16 row's largest output difference from f32 (measured on the sampled inputs) is at most `tolerance`
//   and the rows are faster in sum, size by size, shape by shape. Without a measured difference `auto` stays with f32, and where the inputs
//   were made up from the signature: what those differ by says nothing of what clients send.
// Thread-safety: pure. Source: the column "precision" that the method does not have.
#pragma once

#include <string>

#include "profiling/policy/load_row.h"

namespace evenkeel {

enum class PrecisionRule : uint8_t { kF32, kBf16, kAuto };

struct PrecisionChoice {
  Precision precision = Precision::kF32;
  std::string why;
};

// REQUIRES: tolerance >= 0.
// `sampled`: all rows were measured with sampled inputs.
PrecisionChoice SelectPrecision(const LoadRows& rows, PrecisionRule rule, double tolerance,
                                bool sampled);

}  // namespace evenkeel
