#include "repository/config_pbtxt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "repository/test_folder.h"

namespace evenkeel {
namespace {

using std::chrono::microseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

Result<TritonConfig> Parse(std::string_view text) {
  ModelConfig base;
  base.name = "m";
  return ParseConfigPbtxt(text, "c", base);
}

TritonConfig Good(std::string_view text) {
  const Result<TritonConfig> parsed = Parse(text);
  EXPECT_TRUE(parsed.ok()) << text << "\n" << parsed.status().ToString();
  return parsed.ok() ? *parsed : TritonConfig{};
}

std::string Bad(std::string_view text, Code code = Code::kInvalidArgument) {
  const Result<TritonConfig> parsed = Parse(text);
  EXPECT_EQ(parsed.status().code(), code) << text << "\n" << parsed.status().ToString();
  return parsed.status().message();
}

constexpr char kIo[] =
    "input [{ name: \"x\" data_type: TYPE_FP32 dims: [64] }]\n"
    "output [{ name: \"y\" data_type: TYPE_STRING dims: [-1, 2] }]\n";

TEST(ConfigPbtxtTest, BatchAxisIsPutBeforeTheDimensions) {
  const ModelConfig c = Good(std::string("max_batch_size: 8\n") + kIo).config;
  EXPECT_EQ(c.batching.max_batch, 8);
  EXPECT_TRUE(c.batch_axis_declared);
  EXPECT_EQ(*c.inputs[0].shape, (Shape{-1, 64}));
  EXPECT_EQ(c.inputs[0].dtype, DataType::kFp32);
  EXPECT_EQ(*c.outputs[0].shape, (Shape{-1, -1, 2}));
  EXPECT_EQ(c.outputs[0].dtype, DataType::kBytes);
  EXPECT_EQ(c.source, "c");
}

TEST(ConfigPbtxtTest, ZeroMaxBatchSizeRulesABatchAxisOut) {
  const ModelConfig c = Good(kIo).config;
  EXPECT_TRUE(c.no_batch_axis);
  EXPECT_FALSE(c.batch_axis_declared);
  EXPECT_EQ(*c.inputs[0].shape, (Shape{64}));
}

TEST(ConfigPbtxtTest, ConfigurationToBeCompletedFromTheModelLeavesBatchingOn) {
  const ModelConfig c = Good("name: \"m\" platform: \"onnxruntime_onnx\"").config;
  EXPECT_FALSE(c.no_batch_axis);
  EXPECT_EQ(c.batching.policy, BatchingPolicy::kAuto);
}

TEST(ConfigPbtxtTest, DynamicBatchingDecidesThePolicy) {
  EXPECT_EQ(Good("max_batch_size: 8").config.batching.policy, BatchingPolicy::kNone);
  EXPECT_EQ(Good("max_batch_size: 8 dynamic_batching {}").config.batching.policy,
            BatchingPolicy::kAuto);
  const BatchingConfig b =
      Good(
          "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 500 "
          "preferred_batch_size: [8, 4] default_queue_policy { max_queue_size: 77 } }")
          .config.batching;
  EXPECT_EQ(b.policy, BatchingPolicy::kFixed);
  EXPECT_EQ(b.max_delay, microseconds(500));
  EXPECT_THAT(b.preferred_sizes, ElementsAre(4, 8));
  EXPECT_EQ(b.max_queue_rows, 77);
}

TEST(ConfigPbtxtTest, PrioritiesAndInstancesAreRead) {
  const ModelConfig c = Good(
                            "dynamic_batching { priority_levels: 4 default_priority_level: 2 }\n"
                            "instance_group [{ count: 2 kind: KIND_GPU }, { kind: KIND_GPU }]")
                            .config;
  EXPECT_EQ(c.default_priority, 2);
  EXPECT_EQ(c.instances, 3);
  EXPECT_EQ(c.device, DeviceClass::kGpu);
  EXPECT_EQ(Good("instance_group [{ kind: KIND_CPU }]").config.device, DeviceClass::kCpu);
  EXPECT_EQ(Good("instance_group [{ kind: KIND_CPU }, { kind: KIND_GPU }]").config.device,
            DeviceClass::kAuto);
  EXPECT_EQ(Good("instance_group [{ count: 1 }]").config.device, DeviceClass::kAuto);
}

TEST(ConfigPbtxtTest, WhatOnlyTunesAnotherServerIsPassedOver) {
  Good(
      "parameters { key: \"a\" value { string_value: \"b\" } } optimization { graph { level: 1 } "
      "}\n"
      "model_warmup [{ name: \"w\" batch_size: 1 inputs { key: \"x\" value { data_type: TYPE_FP32 "
      "dims: 1 zero_data: true } } }]\n"
      "response_cache { enable: true } metric_tags { key: \"a\" value: \"b\" } cc_model_filenames "
      "{ key: \"7.0\" value: \"x\" }");
}

TEST(ConfigPbtxtTest, SyntaxErrorsHaveLineAndColumn) {
  EXPECT_EQ(Bad("name: \"m\"\nmax_batch_size: lots"),
            "c:2:17: max_batch_size: Expected integer, got: lots");
  EXPECT_THAT(Bad("max_batch_sise: 3"), AllOf(StartsWith("c:1:"), HasSubstr("max_batch_sise")));
  EXPECT_THAT(Bad("input [{ name: \"x\" data_type: FP32 }]"), StartsWith("c:1:"));
  EXPECT_THAT(Bad("name: \"m"), StartsWith("c:1:"));
  EXPECT_THAT(Bad("name: \"m\" name: \"m\""), HasSubstr("specified multiple times"));
  EXPECT_THAT(Bad("name: \"\xff\""), HasSubstr("not UTF-8"));
  EXPECT_THAT(Bad("max_batch_size: 99999999999"), StartsWith("c:1:17: "));
}

TEST(ConfigPbtxtTest, WrongValuesNamePlaceFieldAndBothSides) {
  EXPECT_EQ(Bad("\nname: \"other\""),
            "c:2:1: name: expected 'm', as the folder is named, got 'other'");
  EXPECT_EQ(Bad("max_batch_size: -1"), "c:1:1: max_batch_size: expected 0 to 65536, got -1");
  EXPECT_EQ(Bad("input [{ name: \"x\" },\n{ name: \"y\"\n dims: [0] }]"),
            "c:3:2: input[1].dims: expected -1 or 1 to 2147483647, got 0");
  EXPECT_THAT(Bad("input [{ dims: [1] }]"), HasSubstr("input[0].name: a name is missing"));
  EXPECT_THAT(Bad("input [{ name: \"x\" }, { name: \"x\" }]"),
              HasSubstr("c:1:25: input[1].name: 'x' is listed twice"));
  EXPECT_THAT(Bad("input [{ name: \"x\" dims: [1,1,1,1,1,1,1,1,1] }]"),
              HasSubstr("at most 8 axes"));
  EXPECT_THAT(Bad("max_batch_size: 2 input [{ name: \"x\" dims: [1,1,1,1,1,1,1,1] }]"),
              HasSubstr("8 and the batch axis"));
  EXPECT_THAT(Bad("max_batch_size: 4 dynamic_batching { preferred_batch_size: [8] }"),
              HasSubstr("expected 1 to 4, got 8"));
  EXPECT_THAT(Bad("dynamic_batching { max_queue_delay_microseconds: 60000001 }"),
              HasSubstr("expected 0 to 60000000"));
  EXPECT_THAT(Bad("dynamic_batching { priority_levels: 3 default_priority_level: 4 }"),
              HasSubstr("expected 1 to 3, got 4"));
  EXPECT_THAT(Bad("instance_group [{ count: 65 }]"), HasSubstr("expected 0 to 64, got 65"));
  EXPECT_THAT(Bad("instance_group [{ count: 60 }, { count: 60 }]"),
              HasSubstr("at most 64 instances, got 120"));
  EXPECT_THAT(Bad("instance_group [{ count: -1 }]"), HasSubstr("got -1"));
  EXPECT_THAT(Bad("version_policy { latest {} }"), HasSubstr("at least 1"));
  EXPECT_THAT(Bad("version_policy { specific { versions: [0] } }"), HasSubstr("got 0"));
  EXPECT_THAT(Bad("version_policy { specific {} }"), HasSubstr("lists no versions"));
  EXPECT_THAT(Bad("platform: \"onnxruntime_onnx\" backend: \"openvino\""),
              HasSubstr("belongs to backend 'onnxruntime'"));
  EXPECT_THAT(Bad("default_model_filename: \"a/b.onnx\""), HasSubstr("plain file name"));
}

TEST(ConfigPbtxtTest, WhatNeedsAnotherServerIsUnsupportedByName) {
  const Code kNo = Code::kUnsupported;
  for (const char* backend : {"python", "tensorrt", "pytorch", "dali", "vllm"}) {
    EXPECT_THAT(Bad("backend: \"" + std::string(backend) + "\"", kNo),
                HasSubstr("'" + std::string(backend) + "' is not supported"));
  }
  EXPECT_THAT(Bad("platform: \"tensorrt_plan\"", kNo),
              StartsWith("c:1:1: platform: platform 'tensorrt_plan' is not supported"));
  EXPECT_THAT(Bad("platform: \"pytorch_libtorch\"", kNo), HasSubstr("pytorch_libtorch"));
  EXPECT_THAT(Bad("sequence_batching { }", kNo), HasSubstr("sequence"));
  EXPECT_THAT(Bad("model_transaction_policy { decoupled: true }", kNo), HasSubstr("decoupled"));
  EXPECT_THAT(Bad("model_operations { op_library_filename: \"x.so\" }", kNo),
              HasSubstr("code is never loaded"));
  EXPECT_THAT(Bad("model_repository_agents { }", kNo), HasSubstr("programs"));
  EXPECT_THAT(Bad("batch_input [{ kind: BATCH_ELEMENT_COUNT }]", kNo), HasSubstr("ragged"));
  EXPECT_THAT(Bad("input [{ name: \"x\" allow_ragged_batch: true }]", kNo), HasSubstr("ragged"));
  EXPECT_THAT(Bad("input [{ name: \"x\" optional: true }]", kNo), HasSubstr("optional"));
  EXPECT_THAT(Bad("input [{ name: \"x\" is_shape_tensor: true }]", kNo),
              HasSubstr("shape tensors"));
  EXPECT_THAT(Bad("input [{ name: \"x\" dims: [4] reshape { shape: [2, 2] } }]", kNo),
              HasSubstr("input[0].reshape"));
  EXPECT_THAT(Bad("dynamic_batching { priority_levels: 17 default_priority_level: 1 }", kNo),
              HasSubstr("at most 16"));
  Good("input [{ name: \"x\" dims: [4] reshape { shape: [4] } }]");
}

constexpr const char* kEnds =
    "input [{ name: \"x\" data_type: TYPE_FP32 dims: [4] }] "
    "output [{ name: \"y\" data_type: TYPE_FP32 dims: [4] }] ";

TEST(ConfigPbtxtTest, AnEnsembleIsAGraphOfSteps) {
  const ModelConfig config =
      Good(std::string("platform: \"ensemble\" max_batch_size: 8 ") + kEnds +
           "ensemble_scheduling { step [{ model_name: \"b\" model_version: -1 "
           "input_map { key: \"i\" value: \"t\" } output_map { key: \"o\" value: \"y\" } }, "
           "{ model_name: \"a\" model_version: 3 "
           "input_map { key: \"i\" value: \"x\" } output_map { key: \"o\" value: \"t\" } }] }")
          .config;
  ASSERT_EQ(config.ensemble.size(), 2);
  EXPECT_EQ(config.ensemble[0].model, "a");
  EXPECT_EQ(config.ensemble[0].version, 3);
  EXPECT_EQ(config.ensemble[1].model, "b");
  EXPECT_EQ(config.ensemble[1].version, -1);
  EXPECT_EQ(config.ensemble[1].inputs[0].own, "i");
  EXPECT_EQ(config.ensemble[1].inputs[0].tensor, "t");
}

TEST(ConfigPbtxtTest, AnEnsembleThatCannotRunIsRefused) {
  EXPECT_THAT(Bad("platform: \"ensemble\""), HasSubstr("list its inputs"));
  EXPECT_THAT(Bad(std::string("platform: \"ensemble\" ") + kEnds), HasSubstr("without steps"));
  EXPECT_THAT(Bad("platform: \"ensemble\" input [{ name: \"x\" data_type: TYPE_FP32 }] "
                  "output [{ name: \"y\" data_type: TYPE_FP32 dims: [4] }]"),
              HasSubstr("dims of 'x'"));
  EXPECT_THAT(Bad(std::string("platform: \"ensemble\" ") + kEnds +
                  "ensemble_scheduling { step [{ model_name: \"a\" input_map { key: \"i\" value: "
                  "\"z\" } output_map { key: \"o\" value: \"y\" } }] }"),
              HasSubstr("comes from nowhere"));
  EXPECT_THAT(Bad(std::string("platform: \"onnxruntime_onnx\" ") + kEnds +
                  "ensemble_scheduling { step [{ model_name: \"a\" input_map { key: \"i\" value: "
                  "\"x\" } output_map { key: \"o\" value: \"y\" } }] }"),
              HasSubstr("expected 'ensemble'"));
}

TEST(ConfigPbtxtTest, LabelsComeFromTheModelsFolderOnly) {
  TestFolder folder;
  folder.Write("l.txt", "a\nb\n");
  ModelConfig base;
  base.name = "m";
  base.folder = folder.path();
  const auto parse = [&](const std::string& file) {
    return ParseConfigPbtxt("output [{ name: \"y\" label_filename: \"" + file + "\" }]", "c", base);
  };
  EXPECT_THAT(parse("l.txt")->config.outputs[0].labels, ElementsAre("a", "b"));
  EXPECT_THAT(parse("../l.txt").status().message(),
              HasSubstr("output[0].label_filename: path '../l.txt' has '..'"));
  EXPECT_EQ(parse("none.txt").status().code(), Code::kNotFound);
}

TEST(ConfigPbtxtTest, HostileTextIsRefused) {
  EXPECT_EQ(Parse(std::string((1 << 20) + 1, ' ')).status().code(), Code::kTooLarge);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "unknown {";
  Bad(deep);
  Bad("[type.googleapis.com/x] { }");
}

}  // namespace
}  // namespace evenkeel
