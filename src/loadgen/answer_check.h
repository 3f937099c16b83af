// Is an answer the one that this input has?
//
// Contract: equal bytes match. Otherwise the two match if they are of equal length, equal before
//   `floats_from`, and from there to the end little-endian FP32 values with |a - b| <= tolerance *
//   (1 + |a|), or equal, or both NaN: engines round differently in batches of different sizes.
//   kNoFloats: only equal bytes match.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace evenkeel::loadgen {

inline constexpr size_t kNoFloats = SIZE_MAX;

bool AnswersMatch(std::string_view expected, std::string_view got, size_t floats_from,
                  double tolerance);

}  // namespace evenkeel::loadgen
