#include "repository/triton_config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "proto/model_config.pb.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig Config() {
  ModelConfig config;
  config.name = "m";
  config.platform = "onnxruntime_onnx";
  config.path = "/models/m/1/model.onnx";
  config.version = 3;
  return config;
}

Signature Batched() {
  Signature signature;
  TensorSpec spec;
  spec.name = "x";
  spec.dtype = DataType::kBytes;
  spec.shape = {-1, 64};
  signature.inputs = {spec};
  spec.name = "y";
  spec.dtype = DataType::kFp32;
  signature.outputs = {spec};
  signature.batched = true;
  signature.max_batch = 16;
  return signature;
}

std::string Bad(const std::string& json, Code code = Code::kInvalidArgument) {
  const Result<ModelConfig> changed = ApplyTritonOverride(Config(), json);
  EXPECT_EQ(changed.status().code(), code) << json << "\n" << changed.status().ToString();
  return changed.status().message();
}

ModelConfig Good(const std::string& json, const ModelConfig& config = Config()) {
  const Result<ModelConfig> changed = ApplyTritonOverride(config, json);
  EXPECT_TRUE(changed.ok()) << json << "\n" << changed.status().ToString();
  return changed.ok() ? *changed : ModelConfig{};
}

TEST(TritonConfigTest, JsonHasTheBatchAxisOutOfTheDimensions) {
  const nlohmann::json json = ConfigToTritonJson(Config(), Batched());
  EXPECT_EQ(json["name"], "m");
  EXPECT_EQ(json["backend"], "onnxruntime");
  EXPECT_EQ(json["max_batch_size"], 16);
  EXPECT_EQ(json["input"][0]["data_type"], "TYPE_STRING");
  EXPECT_EQ(json["input"][0]["dims"], nlohmann::json::array({64}));
  EXPECT_EQ(json["output"][0]["name"], "y");
  EXPECT_EQ(json["version_policy"]["specific"]["versions"], nlohmann::json::array({3}));
  EXPECT_EQ(json["instance_group"][0]["kind"], "KIND_CPU");
  EXPECT_TRUE(json.contains("dynamic_batching"));
  EXPECT_EQ(json["default_model_filename"], "model.onnx");
}

TEST(TritonConfigTest, JsonOfAnUnbatchedModelHasWholeShapes) {
  Signature signature = Batched();
  signature.batched = false;
  const nlohmann::json json = ConfigToTritonJson(Config(), signature);
  EXPECT_EQ(json["max_batch_size"], 0);
  EXPECT_EQ(json["input"][0]["dims"], nlohmann::json::array({-1, 64}));
  EXPECT_FALSE(json.contains("dynamic_batching"));
}

TEST(TritonConfigTest, JsonIsAModelConfigOfThePublishedProtocol) {
  inference::ModelConfig message;
  const auto status = google::protobuf::util::JsonStringToMessage(
      ConfigToTritonJson(Config(), Batched()).dump(), &message);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(message.max_batch_size(), 16);
  EXPECT_EQ(message.input(0).data_type(), inference::TYPE_STRING);
  EXPECT_EQ(message.dynamic_batching().default_priority_level(), 8u);
}

TEST(TritonConfigTest, ItsOwnJsonIsAnOverrideThatChangesNothingButWhatWasImplied) {
  ModelConfig config = Config();
  config.batching.policy = BatchingPolicy::kFixed;
  config.batching.max_delay = std::chrono::microseconds(700);
  config.batching.preferred_sizes = {4, 8};
  config.instances = 2;
  config.default_priority = 3;
  const ModelConfig again = Good(ConfigToTritonJson(config, Batched()).dump(), config);
  EXPECT_EQ(again.batching.max_delay, config.batching.max_delay);
  EXPECT_EQ(again.batching.policy, config.batching.policy);
  EXPECT_THAT(again.batching.preferred_sizes, ElementsAre(4, 8));
  EXPECT_EQ(again.instances, 2);
  EXPECT_EQ(again.device, DeviceClass::kCpu);
  EXPECT_EQ(again.default_priority, 3);
  EXPECT_EQ(again.path, config.path);
  EXPECT_EQ(again.version, 3);
  EXPECT_EQ(again.platform, config.platform);
  EXPECT_EQ(again.batching.max_batch, 16);
  EXPECT_EQ(*again.inputs[0].shape, (Shape{-1, 64}));
}

TEST(TritonConfigTest, OverrideChangesOnlyWhatItGives) {
  ModelConfig config = Config();
  config.batching.max_batch = 32;
  config.batch_axis_declared = true;
  config.instances = 4;
  TensorOverride y;
  y.name = "y";
  y.labels = {"a"};
  config.outputs = {y};
  const ModelConfig changed = Good(R"({"max_batch_size": 8})", config);
  EXPECT_EQ(changed.batching.max_batch, 8);
  EXPECT_EQ(changed.batching.policy, BatchingPolicy::kAuto);
  EXPECT_EQ(changed.instances, 4);
  EXPECT_THAT(changed.outputs[0].labels, ElementsAre("a"));
  const ModelConfig delayed =
      Good(R"({"dynamicBatching": {"max_queue_delay_microseconds": "100"}})", config);
  EXPECT_EQ(delayed.batching.policy, BatchingPolicy::kFixed);
  EXPECT_EQ(delayed.batching.max_batch, 32);
  const ModelConfig input =
      Good(R"({"input": [{"name": "x", "dims": [5], "data_type": "TYPE_INT8"}]})", config);
  EXPECT_EQ(*input.inputs[0].shape, (Shape{-1, 5}));
  const ModelConfig none = Good(R"({"max_batch_size": 0})", config);
  EXPECT_TRUE(none.no_batch_axis);
  EXPECT_FALSE(none.batch_axis_declared);
  EXPECT_EQ(Good("{}", config).batching.max_batch, 32);
}

TEST(TritonConfigTest, MalformedOverridesAreRefused) {
  EXPECT_THAT(Bad(""), HasSubstr("malformed JSON"));
  EXPECT_THAT(Bad("{"), HasSubstr("malformed JSON"));
  EXPECT_THAT(Bad("{} {}"), HasSubstr("malformed JSON"));
  EXPECT_THAT(Bad("[]"), HasSubstr("expected a JSON object, got array"));
  EXPECT_THAT(Bad(R"({"max_bath_size": 1})"), HasSubstr("unknown field 'max_bath_size'"));
  EXPECT_THAT(Bad(R"({"name": "m", "name": "m"})"), HasSubstr("given twice"));
  EXPECT_THAT(Bad(R"({"max_batch_size": 1, "maxBatchSize": 2})"), HasSubstr("given twice"));
  EXPECT_THAT(Bad(R"({"max_batch_size": "lots"})"), HasSubstr("config: "));
  EXPECT_THAT(Bad(R"({"max_batch_size": 1.5})"), HasSubstr("config: "));
  EXPECT_THAT(Bad(R"({"max_batch_size": -1})"),
              HasSubstr("max_batch_size: expected 0 to 65536, got -1"));
  EXPECT_THAT(Bad(R"({"name": "other"})"), HasSubstr("expected 'm'"));
  EXPECT_THAT(Bad("{\"name\": \"\xff\"}"), HasSubstr("not UTF-8"));
  EXPECT_THAT(Bad(std::string(100'000, '[')), HasSubstr("nested more than 32 deep"));
  Bad(std::string((1 << 20) + 1, ' '), Code::kTooLarge);
  Bad(R"({"backend": "python"})", Code::kUnsupported);
  Bad(R"({"sequence_batching": {}})", Code::kUnsupported);
}

}  // namespace
}  // namespace evenkeel
