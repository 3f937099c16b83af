#include "frontends/kserve_raw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace evenkeel {
namespace {

using testing::HasSubstr;

Signature Model(DataType type, Shape shape, bool batched = true, int inputs = 1) {
  Signature signature;
  signature.batched = batched;
  signature.max_batch = batched ? 8 : 1;
  for (int i = 0; i < inputs; ++i) {
    TensorSpec spec;
    spec.name = "x" + std::to_string(i);
    spec.dtype = type;
    spec.shape = shape;
    signature.inputs.push_back(spec);
  }
  signature.outputs.resize(2);
  return signature;
}

class RawRequestTest : public testing::Test {
 protected:
  // The shape that is inferred for a body of `size` bytes, or the message.
  std::string ShapeFor(const Signature& signature, size_t size) {
    const std::string body(size, 'b');
    InferRequest request;
    const Status status =
        ParseInferRequest(std::as_bytes(std::span(body)), 0, "m", signature, &request);
    if (!status.ok()) {
      EXPECT_EQ(status.code(), Code::kInvalidArgument);
      return status.message();
    }
    EXPECT_EQ(request.inputs.size(), 1U);
    const TensorView& view = request.inputs[0];
    EXPECT_EQ(view.spec, 0U);
    EXPECT_EQ(view.dtype, signature.inputs[0].dtype);
    EXPECT_EQ(static_cast<const void*>(view.data.data()), body.data()) << "a view, no copy";
    EXPECT_EQ(view.data.size(), size);
    EXPECT_EQ(request.outputs.size(), signature.outputs.size());
    for (const RequestedOutput& output : request.outputs) EXPECT_TRUE(output.binary);
    return view.shape.ToString();
  }
};

TEST_F(RawRequestTest, TheBatchAxisIsOne) {
  EXPECT_EQ(ShapeFor(Model(DataType::kFp32, {kDynamic, 4}), 16), "[1,4]");
  EXPECT_EQ(ShapeFor(Model(DataType::kInt64, {8, 2, 3}), 48), "[1,2,3]");
  EXPECT_THAT(ShapeFor(Model(DataType::kFp32, {kDynamic, 4}), 32),
              HasSubstr("model 'm': input 'x0': a raw binary request of 32 bytes does not fit: "
                        "FP32 [1,4] takes 16"));
  EXPECT_THAT(ShapeFor(Model(DataType::kFp32, {kDynamic, 4}), 0), HasSubstr("takes 16"));
}

TEST_F(RawRequestTest, OneFreeAxisIsWhatTheSizeGives) {
  EXPECT_EQ(ShapeFor(Model(DataType::kFp32, {kDynamic, kDynamic, 2}), 40), "[1,5,2]");
  EXPECT_EQ(ShapeFor(Model(DataType::kFp16, {kDynamic, 4}, false), 24), "[3,4]");
  EXPECT_EQ(ShapeFor(Model(DataType::kUint8, {kDynamic, kDynamic}), 0), "[1,0]");
  EXPECT_THAT(ShapeFor(Model(DataType::kFp32, {kDynamic, kDynamic, 2}), 42),
              HasSubstr("FP32 [1,5,2] takes 40"));
  EXPECT_THAT(ShapeFor(Model(DataType::kFp32, {kDynamic, kDynamic, 0}), 4), HasSubstr("takes 0"));
}

TEST_F(RawRequestTest, WhatCannotBeInferredIsRefused) {
  EXPECT_THAT(ShapeFor(Model(DataType::kFp32, {kDynamic, kDynamic, kDynamic}), 16),
              HasSubstr("[-1,-1,-1] has several free axes"));
  EXPECT_THAT(ShapeFor(Model(DataType::kFp32, {kDynamic, 4}, true, 2), 16),
              HasSubstr("needs a model with one input, this one has 2"));
  EXPECT_THAT(ShapeFor(Model(DataType::kFp32, {kDynamic, 4}, true, 0), 16), HasSubstr("has 0"));
  EXPECT_THAT(ShapeFor(Model(DataType::kBytes, {kDynamic, 2}), 16), HasSubstr("one BYTES element"));
  EXPECT_THAT(ShapeFor(Model(DataType::kBytes, {kDynamic, kDynamic}), 16),
              HasSubstr("one BYTES element"));
}

TEST_F(RawRequestTest, OfABytesInputTheBodyIsTheElement) {
  for (const std::string& body : {std::string("hello"), std::string()}) {
    InferRequest request;
    ASSERT_TRUE(ParseInferRequest(std::as_bytes(std::span(body)), 0, "m",
                                  Model(DataType::kBytes, {kDynamic, 1}), &request)
                    .ok());
    const TensorView& view = request.inputs[0];
    EXPECT_EQ(view.shape, (Shape{1, 1}));
    ASSERT_EQ(view.data.size(), body.size() + 4);
    EXPECT_EQ(*BytesElementsSize(view.data, 1), view.data.size());
    EXPECT_EQ(std::memcmp(view.data.data() + 4, body.data(), body.size()), 0);
  }
}

}  // namespace
}  // namespace evenkeel
