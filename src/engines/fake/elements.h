// Single elements of a dense tensor as doubles, whatever the data type. Slow and plain: for the fake engine.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>

#include "core/tensor.h"

namespace evenkeel {

// REQUIRES: `type` is neither kBytes nor kInvalid; `at` has ElementSize(type) bytes.
double LoadElement(DataType type, const std::byte* at);
// Rounds to the type; values that it cannot hold are clamped (integers) or become infinite.
void StoreElement(DataType type, double value, std::byte* at);

}  // namespace evenkeel
