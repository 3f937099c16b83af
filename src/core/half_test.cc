#include "core/half.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

// Bit by bit, as the formats are defined.
double Reference(uint16_t bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  double value = exponent == 0 ? 0 : 1;
  for (int i = 1; i <= fraction_bits; ++i) {
    if (((bits >> (fraction_bits - i)) & 1) != 0) value += std::pow(2.0, -i);
  }
  if (exponent == 2 * bias + 1) {
    value = (bits & ((1 << fraction_bits) - 1)) == 0 ? HUGE_VAL : std::nan("");
  } else {
    value *= std::pow(2.0, std::max(exponent, 1) - bias);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

void ExpectSame(float got, double wanted, uint32_t bits) {
  if (std::isnan(wanted)) {
    EXPECT_TRUE(std::isnan(got)) << bits;
  } else {
    EXPECT_EQ(static_cast<double>(got), wanted) << bits;
    EXPECT_EQ(std::signbit(got), std::signbit(wanted)) << bits;
  }
}

TEST(HalfTest, EveryFp16AndBf16IsRead) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    ExpectSame(FloatFromFp16(half), Reference(half, 5, 10), bits);
    ExpectSame(FloatFromBf16(half), Reference(half, 8, 7), bits);
  }
}

}  // namespace
}  // namespace evenkeel
