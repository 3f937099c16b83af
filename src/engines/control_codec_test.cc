#include "engines/control_codec.h"

#include <gtest/gtest.h>

#include "engines/engine.h"

namespace evenkeel {
namespace {

TEST(ControlCodecTest, LoadRoundTrips) {
  auto options = DecodeLoad(EncodeLoad({"/m/x.onnx", "CPU", 3, true, "/cache", {}}));
  ASSERT_TRUE(options.ok()) << options.status().ToString();
  EXPECT_EQ(options->path, "/m/x.onnx");
  EXPECT_EQ(options->device, "CPU");
  EXPECT_EQ(options->threads, 3);
  EXPECT_TRUE(options->bf16);
  EXPECT_EQ(options->cache_dir, "/cache");
}

TEST(ControlCodecTest, AnEmulatedShareRoundTripsAndABrokenOneIsRefused) {
  EngineOptions options{"/m/x.onnx", "CPU", 1, false, "", {}};
  EXPECT_FALSE(DecodeLoad(EncodeLoad(options))->emulated);
  options.emulated = EmulatedShare{Duration(2'000'000), Duration(50), 100, 2, int64_t{1} << 40, 16};
  const auto back = DecodeLoad(EncodeLoad(options));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->emulated, options.emulated);
  for (const char* share :
       {"1", "{}", R"({"a_ns":-1,"c_ns":0,"m0":0,"m1":0,"memory":1,"cores":1})"}) {
    const std::string text = R"({"op":"load","path":"x","emulated":)" + std::string(share) + "}";
    EXPECT_EQ(DecodeLoad(text).status().code(), Code::kInternal) << share;
  }
}

TEST(ControlCodecTest, LoadedRoundTripsWithRangesAndFullInt64) {
  LoadedModel model;
  model.signature.inputs = {
      {"ids", DataType::kInt64, Shape{kDynamic, 64}, IdRange{-20'000, 19'999}, {}},
      {"any", DataType::kInt64, Shape{}, IdRange{INT64_MIN, INT64_MAX}, {}}};
  model.signature.outputs = {{"y", DataType::kBytes, Shape{kDynamic}, {}, {}}};
  model.engine = R"({"name":"fake"})";
  auto back = DecodeLoaded(EncodeLoaded(model));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  ASSERT_EQ(back->signature.inputs.size(), 2u);
  EXPECT_EQ(back->signature.inputs[0].name, "ids");
  EXPECT_EQ(back->signature.inputs[0].shape, (Shape{kDynamic, 64}));
  ASSERT_TRUE(back->signature.inputs[0].range);
  EXPECT_EQ(back->signature.inputs[0].range->lo, -20'000);
  EXPECT_EQ(back->signature.inputs[1].range->lo, INT64_MIN);
  EXPECT_EQ(back->signature.inputs[1].range->hi, INT64_MAX);
  EXPECT_EQ(back->signature.inputs[1].shape.rank(), 0);
  EXPECT_EQ(back->signature.outputs[0].dtype, DataType::kBytes);
  EXPECT_FALSE(back->signature.outputs[0].range);
  EXPECT_EQ(back->engine, model.engine);
}

TEST(ControlCodecTest, FailedComesBackAsItsStatus) {
  const auto back = DecodeLoaded(EncodeFailed(Status(Code::kInvalidArgument, "no \xff model")));
  EXPECT_EQ(back.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(back.status().message().rfind("no ", 0), 0u);
}

TEST(ControlCodecTest, NonsenseIsInternal) {
  const auto loaded = [](const std::string& inputs) {
    return R"({"op":"loaded","engine":{},"signature":{"outputs":[],"inputs":)" + inputs + "}}";
  };
  EXPECT_TRUE(DecodeLoaded(loaded(R"([{"name":"a","dtype":"FP32","shape":[-1]}])")).ok());
  const std::vector<std::string> messages = {
      "",
      "{",
      "[]",
      "null",
      "{}",
      R"({"op":"load"})",
      R"({"op":7})",
      R"({"op":"loaded"})",
      R"({"op":"loaded","signature":[]})",
      R"({"op":"failed"})",
      R"({"op":"failed","code":99})",
      R"({"op":"failed","code":0})",
      R"({"op":"loaded","signature":{"inputs":[],"outputs":[]},"engine":{"deep":)" +
          std::string(400'000, '[') + std::string(400'000, ']') + "}}",
      loaded("{}"),
      loaded("[1]"),
      loaded(R"([{"name":"","dtype":"FP32","shape":[]}])"),
      loaded(R"([{"name":1,"dtype":"FP32","shape":[]}])"),
      loaded(R"([{"name":"a","dtype":"FP31","shape":[]}])"),
      loaded(R"([{"name":"a","dtype":"INVALID","shape":[]}])"),
      loaded(R"([{"name":"a","dtype":"FP32"}])"),
      loaded(R"([{"name":"a","dtype":"FP32","shape":[-2]}])"),
      loaded(R"([{"name":"a","dtype":"FP32","shape":[1.5]}])"),
      loaded(R"([{"name":"a","dtype":"FP32","shape":[18446744073709551615]}])"),
      loaded(R"([{"name":"a","dtype":"FP32","shape":[1,1,1,1,1,1,1,1,1]}])"),
      loaded(R"([{"name":"a","dtype":"INT64","shape":[],"range":[2,1]}])"),
      loaded(R"([{"name":"a","dtype":"INT64","shape":[],"range":[2]}])"),
      loaded(R"([{"name":"a","dtype":"FP32","shape":[]},{"name":"a","dtype":"FP32","shape":[]}])"),
  };
  for (const std::string& message : messages) {
    EXPECT_EQ(DecodeLoaded(message).status().code(), Code::kInternal) << message;
  }
  for (const char* message : {"", "{}", R"({"op":"load"})", R"({"op":"load","path":1})",
                              R"({"op":"load","path":"x","threads":0})"}) {
    EXPECT_EQ(DecodeLoad(message).status().code(), Code::kInternal) << message;
  }
}

}  // namespace
}  // namespace evenkeel
