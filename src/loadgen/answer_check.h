// Is an answer the one that this input has?
//
// Contract: equal bytes match. Otherwise, with `float_tail`, the bodies match if they are of equal
// length, equal up to some point, and from there to the end little-endian FP32 values with |a - b|
// <= tolerance * (1 + |a|): engines round differently in batches of different sizes. Binary HTTP
// answers and single-tensor gRPC messages have that form. Thread-safety: thread-safe.
#pragma once

#include <string_view>

namespace evenkeel::loadgen {

bool AnswersMatch(std::string_view expected, std::string_view got, bool float_tail,
                  double tolerance);

}  // namespace evenkeel::loadgen
