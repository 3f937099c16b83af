#include "loadgen/inputs.h"

#include <gtest/gtest.h>

#include <cstring>

#include "loadgen/answer_check.h"
#include "loadgen/render.h"
#include "proto/grpc_service.pb.h"

namespace evenkeel::loadgen {
namespace {

constexpr const char* kMetadata = R"({"name": "m", "versions": ["1"], "platform": "x",
  "inputs": [{"name": "ids", "datatype": "INT64", "shape": [-1, 4]}, {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
             {"name": "s", "datatype": "BYTES", "shape": [-1, 1]}],
  "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]})";

ModelInfo Info() {
  Result<ModelInfo> info = ParseModelInfo(kMetadata);
  EXPECT_TRUE(info.ok()) << info.status().ToString();
  return std::move(*info);
}

std::vector<int64_t> Ids(const InputSet& set) {
  std::vector<int64_t> ids(set.tensors[0].data.size() / 8);
  std::memcpy(ids.data(), set.tensors[0].data.data(), ids.size() * 8);
  return ids;
}

TEST(InputsTest, RandomInputsFitTheMetadata) {
  RandomOptions options;
  options.batch = 2;
  options.count = 20;
  options.id_max = 9;
  const auto sets = RandomInputs(Info(), options);
  ASSERT_TRUE(sets.ok()) << sets.status().ToString();
  ASSERT_EQ(sets->size(), 20u);
  for (const InputSet& set : *sets) {
    EXPECT_EQ(set.rows, 2);
    EXPECT_EQ(set.tensors[0].shape, (Shape{2, 4}));
    for (const int64_t id : Ids(set)) EXPECT_TRUE(id >= 0 && id <= 9) << id;
    ASSERT_EQ(set.tensors[1].data.size(), 24u);
    float x[6];
    std::memcpy(x, set.tensors[1].data.data(), 24);
    for (const float value : x) EXPECT_TRUE(value >= 0 && value < 1) << value;
    EXPECT_EQ(set.tensors[2].data.size(), 2u * (4 + 8));
  }
  EXPECT_NE((*sets)[0].tensors[0].data, (*sets)[1].tensors[0].data);
  const auto again = RandomInputs(Info(), options);
  EXPECT_EQ((*again)[7].tensors[1].data, (*sets)[7].tensors[1].data) << "the seed decides";
}

TEST(InputsTest, RangesOfTheServersDescriptionBoundTheIds) {
  ModelInfo info = Info();
  AddRanges(R"({"versions": [{"inputs": [{"name": "ids", "range": [5, 6]}, {"name": "x"}]}]})",
            &info);
  RandomOptions options;
  options.count = 50;
  const auto sets = RandomInputs(info, options);
  ASSERT_TRUE(sets.ok());
  bool five = false;
  bool six = false;
  for (const InputSet& set : *sets) {
    for (const int64_t id : Ids(set)) (id == 5 ? five : six) = id == 5 || id == 6;
  }
  EXPECT_TRUE(five && six);
  AddRanges("no json", &info);
  EXPECT_EQ(info.inputs[0].range->hi, 6);
}

TEST(InputsTest, FreeAxesNeedAShapeAndFixedOnesTakeNoBatch) {
  ModelInfo info;
  info.name = "m";
  info.inputs = {{"x", DataType::kFp32, Shape{-1, 3, -1}, {}, {}}};
  RandomOptions options;
  const auto free_axis = RandomInputs(info, options);
  EXPECT_NE(free_axis.status().message().find("--shape x:"), std::string::npos)
      << free_axis.status().message();
  options.shapes["x"] = Shape{1, 3, 7};
  EXPECT_EQ((*RandomInputs(info, options))[0].tensors[0].data.size(), 84u);
  options.shapes["z"] = Shape{1};
  EXPECT_FALSE(RandomInputs(info, options).ok());
  info.inputs = {{"x", DataType::kFp32, Shape{2, 3}, {}, {}}};
  options.shapes.clear();
  options.batch = 4;
  EXPECT_FALSE(RandomInputs(info, options).ok());
}

TEST(InputsTest, RefusesMetadataThatCannotBeUsed) {
  for (
      const char* text :
      {"", "[]", R"({"name": "m"})",
       R"({"name": "m", "inputs": [{"name": "x", "datatype": "FP99", "shape": [1]}]})",
       R"({"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1,1,1,1,1,1,1,1,1]}]})",
       R"({"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": ["a"]}]})"}) {
    EXPECT_FALSE(ParseModelInfo(text).ok()) << text;
  }
}

TEST(InputsTest, ReadsRequestBodies) {
  const auto sets = InputsFromJson(
      R"([{"inputs": [{"name": "a", "datatype": "INT16", "shape": [2, 2], "data": [[1, -2], [3, 4]]},
                      {"name": "s", "datatype": "BYTES", "shape": [2], "data": ["hi", ""]}]}])",
      "f.json");
  ASSERT_TRUE(sets.ok()) << sets.status().ToString();
  const InputSet& set = sets->front();
  EXPECT_EQ(set.rows, 2);
  EXPECT_EQ(set.tensors[0].data, std::string("\1\0\xfe\xff\3\0\4\0", 8));
  EXPECT_EQ(set.tensors[1].data, std::string("\2\0\0\0hi\0\0\0\0", 10));
}

TEST(InputsTest, RefusesBodiesThatContradictThemselves) {
  for (const char* input : {R"({"name": "a", "datatype": "INT8", "shape": [1], "data": [300]})",
                            R"({"name": "a", "datatype": "UINT8", "shape": [1], "data": [-1]})",
                            R"({"name": "a", "datatype": "INT8", "shape": [2], "data": [1]})",
                            R"({"name": "a", "datatype": "INT8", "shape": [1], "data": [1.5]})",
                            R"({"name": "a", "datatype": "BYTES", "shape": [1], "data": [1]})",
                            R"({"name": "a", "datatype": "FP16", "shape": [1], "data": [1]})",
                            R"({"name": "a", "datatype": "FP32", "shape": [-1], "data": []})",
                            R"({"datatype": "FP32"})"}) {
    EXPECT_FALSE(InputsFromJson(std::string(R"({"inputs": [)") + input + "]}", "f.json").ok())
        << input;
  }
  EXPECT_FALSE(InputsFromJson("{}", "f.json").ok());
  EXPECT_FALSE(InputsFromJson("[", "f.json").ok());
}

TEST(InputsTest, RowsAreCutIntoBatchesAndEveryRowIsUsed) {
  RowTable table;
  table.inputs = {{"x", DataType::kUint8, Shape{2}, {}, {}}};
  for (const char* row : {"aa", "bb", "cc"}) table.data.push_back({row});
  const auto sets = InputsFromRows(table, 2, 10);
  ASSERT_TRUE(sets.ok());
  ASSERT_EQ(sets->size(), 2u);
  EXPECT_EQ((*sets)[0].tensors[0].data, "aabb");
  EXPECT_EQ((*sets)[1].tensors[0].data, "ccaa");
  EXPECT_EQ((*sets)[1].tensors[0].shape, (Shape{2, 2}));
  EXPECT_FALSE(InputsFromRows({}, 1, 1).ok());
}

InputSet OneFloat() {
  const float value = 0.25F;
  return {
      {{"x", DataType::kFp32, Shape{1, 1}, std::string(reinterpret_cast<const char*>(&value), 4)}},
      1};
}

TEST(RenderTest, BinaryHttpSaysItsLengths) {
  const Url url{"http", "127.0.0.1", "8000", ""};
  RenderOptions options;
  options.deadline = std::chrono::microseconds(1500);
  const std::string request = *RenderHttp(url, "m", OneFloat(), options);
  EXPECT_TRUE(request.starts_with(
      "POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nX-Request-Timeout-Ms: 2\r\n"))
      << request;
  const std::string body = request.substr(request.find("\r\n\r\n") + 4);
  EXPECT_NE(request.find("\r\nContent-Length: " + std::to_string(body.size()) + "\r\n"),
            std::string::npos);
  EXPECT_NE(request.find("\r\nInference-Header-Content-Length: " + std::to_string(body.size() - 4) +
                         "\r\n"),
            std::string::npos);
  EXPECT_NE(body.find(R"("timeout":1500)"), std::string::npos);
  EXPECT_EQ(body.substr(body.size() - 4), OneFloat().tensors[0].data);
}

TEST(RenderTest, JsonHttpCarriesTheValues) {
  RenderOptions options;
  options.json = true;
  options.version = "3";
  const std::string request = *RenderHttp({"http", "::1", "80", ""}, "m", OneFloat(), options);
  EXPECT_NE(request.find("/v2/models/m/versions/3/infer"), std::string::npos);
  EXPECT_NE(request.find("Host: [::1]:80"), std::string::npos);
  EXPECT_NE(request.find(R"("data":[0.25])"), std::string::npos) << request;
}

TEST(RenderTest, GrpcMessageParsesBack) {
  inference::ModelInferRequest request;
  ASSERT_TRUE(request.ParseFromString(RenderGrpc("m", OneFloat(), {})));
  EXPECT_EQ(request.model_name(), "m");
  EXPECT_EQ(request.inputs(0).datatype(), "FP32");
  EXPECT_EQ(request.raw_input_contents(0), OneFloat().tensors[0].data);
}

TEST(AnswerCheckTest, FloatsMayDifferByTheToleranceAndNothingElse) {
  const auto with = [](float a, float b, const char* head) {
    std::string s(head);
    s.append(reinterpret_cast<const char*>(&a), 4).append(reinterpret_cast<const char*>(&b), 4);
    return s;
  };
  const std::string expected = with(1.0F, 2.0F, "{head}");
  EXPECT_TRUE(AnswersMatch(expected, expected, kNoFloats, 0));
  EXPECT_TRUE(AnswersMatch(expected, with(1.00001F, 2.0F, "{head}"), 6, 1e-4));
  EXPECT_FALSE(AnswersMatch(expected, with(1.00001F, 2.0F, "{head}"), kNoFloats, 1e-4));
  EXPECT_FALSE(AnswersMatch(expected, with(1.01F, 2.0F, "{head}"), 6, 1e-4));
  EXPECT_FALSE(AnswersMatch(expected, with(1.0F, 2.0F, "{hxad}"), 6, 1e-4));
  EXPECT_FALSE(AnswersMatch(expected, expected + "x", 6, 1));
}

}  // namespace
}  // namespace evenkeel::loadgen
