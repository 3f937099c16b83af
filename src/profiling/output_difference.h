// How far the outputs of one precision are from those of another, on the same inputs.
//
// Contract: numbers of any type count (a label that is another is a difference too), texts are left out. An element that is finite on one
//   side only, or two lists of different lengths, count as an infinite difference; not-a-number on both sides as none.
// Thread-safety: pure.
#pragma once

#include <span>
#include <vector>

#include "core/tensor.h"

namespace evenkeel {

struct OutputDifference {
  double largest = -1, mean = -1;  // of |a - b| over all elements; below 0: there is none
};

// All elements but BYTES, one tensor after the other.
std::vector<double> Elements(std::span<const TensorView> outputs);

OutputDifference Compare(const std::vector<std::vector<double>>& a,
                         const std::vector<std::vector<double>>& b);

}  // namespace evenkeel
