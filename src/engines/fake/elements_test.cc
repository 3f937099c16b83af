#include "engines/fake/elements.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace evenkeel {
namespace {

TEST(ElementsTest, EveryHalfRoundTrips) {
  for (const DataType type : {DataType::kFp16, DataType::kBf16}) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      std::byte in[2], out[2];
      std::memcpy(in, &half, 2);
      const double value = LoadElement(type, in);
      StoreElement(type, value, out);
      if (std::isnan(value)) continue;
      ASSERT_EQ(std::memcmp(in, out, 2), 0) << NameOf(type) << " " << bits;
    }
  }
}

TEST(ElementsTest, HalvesRoundToTheNearestAndOverflowToInfinity) {
  const auto half = [](double value) {
    std::byte raw[2];
    StoreElement(DataType::kFp16, value, raw);
    return LoadElement(DataType::kFp16, raw);
  };
  EXPECT_EQ(half(2049), 2048);  // a tie goes to the even one
  EXPECT_EQ(half(2051), 2052);
  EXPECT_EQ(half(65519), 65504);
  EXPECT_EQ(half(65520), HUGE_VAL);
  EXPECT_EQ(half(0.0009765624), 0.0009765625);
}

TEST(ElementsTest, IntegersAreClamped) {
  std::byte raw[8];
  StoreElement(DataType::kUint8, 300, raw);
  EXPECT_EQ(LoadElement(DataType::kUint8, raw), 255);
  StoreElement(DataType::kInt64, 1e30, raw);
  EXPECT_EQ(LoadElement(DataType::kInt64, raw), 9223372036854775807.0);
  StoreElement(DataType::kInt8, -300, raw);
  EXPECT_EQ(LoadElement(DataType::kInt8, raw), -128);
}

}  // namespace
}  // namespace evenkeel
