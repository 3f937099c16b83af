// The inner loops of host_speed.h, in a file of their own that is compiled for several vector widths.
//
// Thread-safety: pure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace evenkeel {

// Some tens of microseconds of multiplying and adding in registers; how many operations that was.
double ComputePiece();
uint64_t SumOf(const uint64_t* words, size_t count);

}  // namespace evenkeel
