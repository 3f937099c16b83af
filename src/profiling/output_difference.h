// How far the outputs of one precision are from those of another, on the same inputs.
//
// Contract: elements that are no floating-point numbers are left out. An element that is finite on one side only, or two lists of
//   different lengths, count as an infinite difference; not-a-number on both sides as none.
// Thread-safety: pure.
#pragma once

#include <span>
#include <vector>

#include "core/tensor.h"

namespace evenkeel {

struct OutputDifference {
  double largest = 0, mean = 0;  // of |a - b| over all elements
};

// All FP16, BF16, FP32 and FP64 elements, one tensor after the other.
std::vector<double> FloatElements(std::span<const TensorView> outputs);

OutputDifference Compare(const std::vector<std::vector<double>>& a,
                         const std::vector<std::vector<double>>& b);

}  // namespace evenkeel
