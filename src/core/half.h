// Half-precision floats as they are stored: IEEE 754 binary16 (FP16) and bfloat16 (BF16).
// Thread-safety: thread-safe.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace evenkeel {

// Exact, for both widen. NaN stays NaN; its payload is lost for FP16.
inline float FloatFromBf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline float FloatFromFp16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const auto fraction = static_cast<float>(bits & 1023);
  const float magnitude = exponent == 31  ? (fraction == 0 ? HUGE_VALF : NAN)
                          : exponent == 0 ? std::ldexp(fraction, -24)
                                          : std::ldexp(fraction + 1024, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

}  // namespace evenkeel
