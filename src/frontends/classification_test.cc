#include "frontends/classification.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace evenkeel {
namespace {

std::vector<std::string> Elements(const std::string& bytes) {
  std::vector<std::string> elements;
  for (size_t at = 0; at + 4 <= bytes.size();) {
    uint32_t size = 0;
    std::memcpy(&size, bytes.data() + at, 4);
    elements.push_back(bytes.substr(at + 4, size));
    at += 4 + size;
  }
  return elements;
}

template <typename T>
Result<Classification> ClassifyValues(DataType type, const std::vector<T>& values, Shape shape,
                                      bool batched, int64_t k,
                                      std::vector<std::string> labels = {}) {
  TensorSpec spec;
  spec.name = "y";
  spec.dtype = type;
  spec.labels = std::move(labels);
  return Classify(spec, TensorView{0, type, shape, std::as_bytes(std::span(values))}, batched, k);
}

using Strings = std::vector<std::string>;

TEST(ClassificationTest, EachRowGivesItsLargestValuesWithLabels) {
  const auto result = ClassifyValues<float>(DataType::kFp32, {0.5F, 2, -1, 7, 7, 8}, {2, 3}, true,
                                            2, {"cat", "dog"});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->shape, (Shape{2, 2}));
  EXPECT_EQ(Elements(result->bytes),
            (Strings{"2.000000:1:dog", "0.500000:0:cat", "8.000000:2", "7.000000:0:cat"}));
}

TEST(ClassificationTest, WithoutABatchAxisTheWholeTensorIsOneRow) {
  const auto result = ClassifyValues<int32_t>(DataType::kInt32, {3, -4, 9, 9}, {2, 2}, false, 3);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->shape, (Shape{3}));
  EXPECT_EQ(Elements(result->bytes), (Strings{"9:2", "9:3", "3:0"}));
}

TEST(ClassificationTest, MoreThanThereAreIsAllThereAre) {
  const auto result = ClassifyValues<uint8_t>(DataType::kUint8, {1, 200}, {1, 2}, true, 1000000);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->shape, (Shape{1, 2}));
  EXPECT_EQ(Elements(result->bytes), (Strings{"200:1", "1:0"}));
}

TEST(ClassificationTest, NotANumberComesLast) {
  const auto result = ClassifyValues<double>(DataType::kFp64, {NAN, 1, NAN, 5}, {1, 4}, true, 4);
  ASSERT_TRUE(result.ok());
  const Strings elements = Elements(result->bytes);
  EXPECT_EQ(elements[0], "5.000000:3");
  EXPECT_EQ(elements[1], "1.000000:1");
  EXPECT_TRUE(elements[2].ends_with(":0")) << elements[2];
  EXPECT_TRUE(elements[3].ends_with(":2")) << elements[3];
}

TEST(ClassificationTest, HalfPrecisionIsReadByValue) {
  // 1.0, -2.0, 65504, smallest subnormal
  const auto fp16 =
      ClassifyValues<uint16_t>(DataType::kFp16, {0x3c00, 0xc000, 0x7bff, 0x0001}, {1, 4}, true, 4);
  ASSERT_TRUE(fp16.ok());
  EXPECT_EQ(Elements(fp16->bytes),
            (Strings{"65504.000000:2", "1.000000:0", "0.000000:3", "-2.000000:1"}));
  const auto bf16 = ClassifyValues<uint16_t>(DataType::kBf16, {0x3f80, 0x4040}, {1, 2}, true, 1);
  ASSERT_TRUE(bf16.ok());
  EXPECT_EQ(Elements(bf16->bytes), (Strings{"3.000000:1"}));
}

TEST(ClassificationTest, WhatHasNoOrderIsRefused) {
  EXPECT_EQ(ClassifyValues<uint8_t>(DataType::kBool, {1}, {1, 1}, true, 1).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(
      ClassifyValues<uint8_t>(DataType::kBytes, {0, 0, 0, 0}, {1, 1}, true, 1).status().code(),
      Code::kInvalidArgument);
  EXPECT_EQ(ClassifyValues<float>(DataType::kFp32, {1}, {1, 1}, true, 0).status().code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace evenkeel
