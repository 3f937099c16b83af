#include "repository/signature.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TensorSpec Spec(const std::string& name, DataType type, const Shape& shape) {
  TensorSpec spec;
  spec.name = name;
  spec.dtype = type;
  spec.shape = shape;
  return spec;
}

TensorOverride Override(const std::string& name, DataType type, const std::optional<Shape>& shape) {
  TensorOverride out;
  out.name = name;
  out.dtype = type;
  out.shape = shape;
  return out;
}

// Input x INT64, output y FP32.
Signature Engine(const Shape& x, const Shape& y) {
  Signature signature;
  signature.inputs = {Spec("x", DataType::kInt64, x)};
  signature.outputs = {Spec("y", DataType::kFp32, y)};
  return signature;
}

ModelConfig WithMaxBatch(int rows) {
  ModelConfig config;
  config.batching.max_batch = rows;
  config.batch_axis_declared = true;
  return config;
}

Signature Good(const ModelConfig& config, const Signature& engine) {
  const Result<Signature> resolved = ResolveSignature(config, engine);
  EXPECT_TRUE(resolved.ok()) << resolved.status().ToString();
  return resolved.ok() ? *resolved : Signature{};
}

std::string Bad(const ModelConfig& config, const Signature& engine) {
  const Result<Signature> resolved = ResolveSignature(config, engine);
  EXPECT_EQ(resolved.status().code(), Code::kInvalidArgument);
  return resolved.status().message();
}

TEST(SignatureTest, DynamicAxisEverywhereIsABatchAxis) {
  const Signature s = Good({}, Engine({-1, 64}, {-1, 10}));
  EXPECT_TRUE(s.batched);
  EXPECT_EQ(s.max_batch, kDefaultMaxBatch);
  EXPECT_EQ(s.inputs[0].shape, (Shape{-1, 64}));
}

TEST(SignatureTest, OneTensorWithoutDynamicAxisMeansNoBatching) {
  for (const Signature& engine : {Engine({1, 64}, {-1, 10}), Engine({-1, 64}, {1, 10}),
                                  Engine({-1, 64}, {}), Engine({}, {-1})}) {
    const Signature s = Good({}, engine);
    EXPECT_FALSE(s.batched);
    EXPECT_EQ(s.max_batch, 1);
  }
}

TEST(SignatureTest, BatchAxisCanBeRuledOut) {
  ModelConfig config;
  config.no_batch_axis = true;
  EXPECT_FALSE(Good(config, Engine({-1}, {-1})).batched);
}

TEST(SignatureTest, DeclaredMaxBatchIsUsed) {
  EXPECT_EQ(Good(WithMaxBatch(8), Engine({-1, 64}, {-1, 10})).max_batch, 8);
}

TEST(SignatureTest, FixedAxisOfTheDeclaredSizeIsABatchAxisAndKeepsItsSize) {
  const Signature s = Good(WithMaxBatch(4), Engine({4, 64}, {4, 10}));
  EXPECT_TRUE(s.batched);
  EXPECT_EQ(s.max_batch, 4);
  EXPECT_EQ(s.inputs[0].shape, (Shape{4, 64}));
}

TEST(SignatureTest, FixedAxisOfAnotherSizeIsRefused) {
  EXPECT_EQ(Bad(WithMaxBatch(8), Engine({4, 64}, {4, 10})),
            "input 'x': max_batch is 8, but axis 0 of [4,64] is fixed at 4");
  EXPECT_THAT(Bad(WithMaxBatch(8), Engine({-1, 64}, {4, 10})),
              HasSubstr("output 'y': max_batch is 8"));
  EXPECT_THAT(Bad(WithMaxBatch(8), Engine({-1, 64}, {})),
              HasSubstr("output 'y': max_batch is 8, but the tensor is a scalar"));
}

TEST(SignatureTest, PolicyNoneStillAllowsRowsInARequest) {
  ModelConfig config;
  config.batching.policy = BatchingPolicy::kNone;
  EXPECT_TRUE(Good(config, Engine({-1, 64}, {-1, 10})).batched);
}

TEST(SignatureTest, SettingsNarrowDynamicAxes) {
  ModelConfig config;
  config.inputs = {Override("x", DataType::kInt64, Shape{-1, 64})};
  const Signature s = Good(config, Engine({-1, -1}, {-1, 10}));
  EXPECT_EQ(s.inputs[0].shape, (Shape{-1, 64}));
  EXPECT_TRUE(s.batched);
  config.inputs = {Override("x", DataType::kInt64, Shape{8, 64})};
  EXPECT_FALSE(Good(config, Engine({-1, -1}, {-1, 10})).batched);
}

TEST(SignatureTest, DeclaredBatchAxisMeetsAFixedOneOfItsSize) {
  ModelConfig config = WithMaxBatch(4);
  config.inputs = {Override("x", DataType::kInt64, Shape{-1, 64})};
  EXPECT_EQ(Good(config, Engine({4, 64}, {4, 10})).inputs[0].shape, (Shape{4, 64}));
}

TEST(SignatureTest, ContradictionsNameBothSides) {
  ModelConfig config;
  config.inputs = {Override("x", DataType::kFp32, std::nullopt)};
  EXPECT_EQ(Bad(config, Engine({-1, 64}, {-1, 10})),
            "input 'x': the settings say FP32, the model has INT64");
  config.inputs = {Override("x", DataType::kInvalid, Shape{-1, 32})};
  EXPECT_EQ(Bad(config, Engine({-1, 64}, {-1, 10})),
            "input 'x': the settings say [-1,32], the model has [-1,64]");
  config.inputs = {Override("x", DataType::kInvalid, Shape{64})};
  EXPECT_THAT(Bad(config, Engine({-1, 64}, {-1, 10})),
              HasSubstr("say [64], the model has [-1,64]"));
  config.inputs = {Override("x", DataType::kInvalid, Shape{-1, -1})};
  EXPECT_THAT(Bad(config, Engine({-1, 64}, {-1, 10})),
              HasSubstr("say [-1,-1], the model has [-1,64]"));
}

TEST(SignatureTest, UnknownTensorsAreRefusedWithASuggestion) {
  ModelConfig config;
  config.inputs = {Override("input_idz", DataType::kInvalid, std::nullopt)};
  Signature engine = Engine({-1, 64}, {-1, 10});
  EXPECT_EQ(Bad(config, engine), "input 'input_idz': the model has no such input; it has 'x'");
  engine.inputs[0].name = "input_ids";
  EXPECT_EQ(Bad(config, engine),
            "input 'input_idz': the model has no such input; did you mean 'input_ids'?");
  config.inputs.clear();
  config.outputs = {Override("x", DataType::kInvalid, std::nullopt)};
  EXPECT_THAT(Bad(config, engine), HasSubstr("output 'x': the model has no such output"));
}

TEST(SignatureTest, RangesNarrowTheEnginesAndNeedIntegers) {
  ModelConfig config;
  config.inputs = {Override("x", DataType::kInvalid, std::nullopt)};
  config.inputs[0].range = IdRange{0, 99};
  Signature engine = Engine({-1, 64}, {-1, 10});
  EXPECT_EQ(Good(config, engine).inputs[0].range->hi, 99);
  engine.inputs[0].range = IdRange{-100, 49};
  EXPECT_EQ(Good(config, engine).inputs[0].range->lo, 0);
  EXPECT_EQ(Good(config, engine).inputs[0].range->hi, 49);
  engine.inputs[0].range = IdRange{200, 300};
  EXPECT_THAT(Bad(config, engine), HasSubstr("nothing in common"));
  engine.inputs[0].range.reset();
  engine.inputs[0].dtype = DataType::kFp32;
  EXPECT_THAT(Bad(config, engine), HasSubstr("a range is for integers, the input is FP32"));
}

TEST(SignatureTest, LabelsArePutIn) {
  ModelConfig config;
  config.outputs = {Override("y", DataType::kInvalid, std::nullopt)};
  config.outputs[0].labels = {"cat", "dog"};
  EXPECT_THAT(Good(config, Engine({-1}, {-1, 2})).outputs[0].labels, ElementsAre("cat", "dog"));
}

TEST(SignatureTest, NamesThatNoProtocolCanCarryAreRefused) {
  Signature engine = Engine({-1}, {-1});
  engine.inputs[0].name = "\xff";
  EXPECT_THAT(Bad({}, engine), HasSubstr("input '\\xff': expected a name"));
  engine.inputs[0].name = "";
  EXPECT_THAT(Bad({}, engine), HasSubstr("expected a name"));
  engine.inputs = {Spec("x", DataType::kFp32, {-1}), Spec("x", DataType::kFp32, {-1})};
  EXPECT_THAT(Bad({}, engine), HasSubstr("two inputs named 'x'"));
  engine.inputs.clear();
  EXPECT_THAT(Bad({}, engine), HasSubstr("no inputs"));
}

}  // namespace
}  // namespace evenkeel
