#include "frontends/kserve_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/log.h"
#include "frontends/fake_service.h"
#include "frontends/http_router.h"
#include "frontends/http_test_exchange.h"
#include "net/gzip.h"

namespace evenkeel {

// The daemon's own is in server/.
std::string_view ServerVersion() { return "test"; }

namespace {

using nlohmann::json;
using testing::HasSubstr;
using Fields = std::vector<std::pair<std::string, std::string>>;

class KServeHttpTest : public testing::Test {
 protected:
  // Sends it, expects exactly one answer, and returns it.
  std::unique_ptr<TestExchange> Send(HttpMethod method, std::string target, std::string body = "",
                                     Fields fields = {}) {
    auto exchange = std::make_unique<TestExchange>(method, std::move(target), std::move(body),
                                                   std::move(fields));
    router_.Handle(*exchange);
    EXPECT_EQ(exchange->answers, 1);
    return exchange;
  }
  json Get(const std::string& target, int status = 200) {
    const auto exchange = Send(HttpMethod::kGet, target);
    EXPECT_EQ(exchange->response.status, status) << exchange->response.body;
    return json::parse(exchange->response.body);
  }
  std::unique_ptr<TestExchange> Infer(const std::string& model, std::string body,
                                      Fields fields = {}) {
    return Send(HttpMethod::kPost, "/v2/models/" + model + "/infer", std::move(body),
                std::move(fields));
  }
  json InferJson(const std::string& model, const json& request) {
    const auto exchange = Infer(model, request.dump());
    EXPECT_EQ(exchange->response.status, 200) << exchange->response.body;
    EXPECT_EQ(exchange->response.content_type, "application/json");
    return json::parse(exchange->response.body);
  }
  // Expects `status` and a message that has `part`.
  void ExpectError(const std::string& model, const std::string& body, int status,
                   const std::string& part, Fields fields = {}) {
    const auto exchange = Infer(model, body, std::move(fields));
    EXPECT_EQ(exchange->response.status, status) << body.substr(0, 200) << exchange->response.body;
    const json answer = json::parse(exchange->response.body, nullptr, false);
    ASSERT_TRUE(answer.contains("error")) << exchange->response.body;
    EXPECT_THAT(answer["error"].get<std::string>(), HasSubstr(part));
  }
  static json Echo() {
    return {
        {"inputs",
         {{{"name", "x"}, {"datatype", "FP32"}, {"shape", {1, 4}}, {"data", {1, 2.5, -3, 1e-7}}}}}};
  }
  static std::string Floats(std::initializer_list<float> values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.begin(), bytes.size());
    return bytes;
  }
  // The head of a binary request for "echo", with `size` claimed.
  static json BinaryHead(size_t size) {
    json head = Echo();
    head["inputs"][0].erase("data");
    head["inputs"][0]["parameters"] = {{"binary_data_size", size}};
    return head;
  }
  static Fields JsonSize(size_t size) {
    return {{"Inference-Header-Content-Length", std::to_string(size)}};
  }

  FakeService service_;
  HttpRouter router_{service_, Authorizer::Off()};
};

TEST_F(KServeHttpTest, InfersJson) {
  json request = Echo();
  request["id"] = "r\"1";
  const json answer = InferJson("echo", request);
  EXPECT_EQ(answer["id"], "r\"1");
  EXPECT_EQ(answer["model_name"], "echo");
  EXPECT_EQ(answer["model_version"], "1");
  ASSERT_EQ(answer["outputs"].size(), 1U);
  EXPECT_EQ(answer["outputs"][0]["name"], "y");
  EXPECT_EQ(answer["outputs"][0]["datatype"], "FP32");
  EXPECT_EQ(answer["outputs"][0]["shape"], json({1, 4}));
  EXPECT_EQ(answer["outputs"][0]["data"].dump(), "[1,2.5,-3,1e-07]");
}

TEST_F(KServeHttpTest, TakesNestedDataAndANamedVersion) {
  json request = Echo();
  request["inputs"][0]["shape"] = {2, 4};
  request["inputs"][0]["data"] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
  const auto exchange = Send(HttpMethod::kPost, "/v2/models/echo/versions/1/infer", request.dump());
  EXPECT_EQ(json::parse(exchange->response.body)["outputs"][0]["data"].dump(), "[1,2,3,4,5,6,7,8]");
}

TEST_F(KServeHttpTest, InfersBinaryBothWays) {
  json head = BinaryHead(16);
  head["outputs"] = {{{"name", "y"}, {"parameters", {{"binary_data", true}}}}};
  const std::string data = Floats({1, 2, 3, 4});
  const auto exchange = Infer("echo", head.dump() + data, JsonSize(head.dump().size()));
  ASSERT_EQ(exchange->response.status, 200) << exchange->response.body;
  EXPECT_EQ(exchange->response.content_type, "application/octet-stream");
  const size_t size = std::stoul(exchange->Field("Inference-Header-Content-Length"));
  const json answer = json::parse(exchange->response.body.substr(0, size));
  EXPECT_EQ(answer["outputs"][0]["parameters"]["binary_data_size"], 16);
  EXPECT_EQ(exchange->response.body.substr(size), data);
}

TEST_F(KServeHttpTest, BinaryOutputCanBeAskedForAllAtOnceAndTakenBackForOne) {
  json request = Echo();
  request["parameters"] = {{"binary_data_output", true}, {"something_else", 5}};
  EXPECT_NE(Infer("echo", request.dump())->Field("Inference-Header-Content-Length"), "");
  request["outputs"] = {{{"name", "y"}, {"parameters", {{"binary_data", false}}}}};
  EXPECT_EQ(Infer("echo", request.dump())->Field("Inference-Header-Content-Length"), "");
}

TEST_F(KServeHttpTest, StringsAsJsonAndAsBinary) {
  json request = {
      {"inputs",
       {{{"name", "s"}, {"datatype", "BYTES"}, {"shape", {2, 1}}, {"data", {"a\n\"ü", ""}}}}}};
  EXPECT_EQ(InferJson("text", request)["outputs"][0]["data"], json({"a\n\"ü", ""}));
  const std::string elements("\x02\0\0\0\xff\xfe\0\0\0\0", 10);
  request["inputs"][0].erase("data");
  request["inputs"][0]["parameters"] = {{"binary_data_size", 10}};
  const size_t size = request.dump().size();
  ExpectError("text", request.dump() + elements, 400, "not UTF-8", JsonSize(size));
  request["parameters"] = {{"binary_data_output", true}};
  const auto exchange = Infer("text", request.dump() + elements, JsonSize(request.dump().size()));
  EXPECT_TRUE(exchange->response.body.ends_with(elements));
}

TEST_F(KServeHttpTest, EveryDataTypeComesBackAsItWent) {
  const std::map<std::string, json> values = {{"BOOL", {true, false}},
                                              {"UINT8", {0, 255}},
                                              {"UINT16", {0, 65535}},
                                              {"UINT32", {0, 4294967295U}},
                                              {"UINT64", {0, UINT64_MAX}},
                                              {"INT8", {-128, 127}},
                                              {"INT16", {-32768, 32767}},
                                              {"INT32", {INT32_MIN, INT32_MAX}},
                                              {"INT64", {INT64_MIN, INT64_MAX}},
                                              {"FP32", {0.1F, 3.4028234663852886e38}},
                                              {"FP64", {0.1, 1.7976931348623157e308}}};
  json head = {{"inputs", json::array()}};
  std::string binary;
  for (const TensorSpec& spec : service_.model("types").signature().inputs) {
    json input = {{"name", spec.name}, {"datatype", NameOf(spec.dtype)}, {"shape", {2}}};
    const auto it = values.find(std::string(NameOf(spec.dtype)));
    if (it != values.end()) {
      input["data"] = it->second;
    } else {
      input["parameters"] = {{"binary_data_size", 4}};
      binary += spec.dtype == DataType::kFp16 ? std::string("\x00\x3c\x00\xc5", 4)
                                              : std::string("\x80\x3f\xa0\xc0", 4);
    }
    head["inputs"].push_back(input);
  }
  const auto exchange = Infer("types", head.dump() + binary, JsonSize(head.dump().size()));
  ASSERT_EQ(exchange->response.status, 200) << exchange->response.body;
  const json answer = json::parse(exchange->response.body);
  for (const json& output : answer["outputs"]) {
    const std::string type = output["datatype"];
    if (values.contains(type)) {
      // The text, too: shortest form that reads back the same.
      const json& sent = values.at(type);
      for (size_t i = 0; i < 2; ++i) {
        if (type == "FP32") {
          EXPECT_EQ(output["data"][i].get<float>(), sent[i].get<float>());
        } else {
          EXPECT_EQ(output["data"][i], sent[i]) << type;
        }
      }
    } else {
      EXPECT_EQ(output["data"].dump(), "[1,-5]") << type;
    }
  }
}

TEST_F(KServeHttpTest, NumbersThatDoNotFitTheirTypeAreRefused) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"INT64", "1.0"},   {"INT64", "1e3"},    {"INT64", "9223372036854775808"},
      {"UINT64", "-1"},   {"UINT8", "256"},    {"UINT8", "-1"},
      {"INT8", "128"},    {"INT16", "-32769"}, {"INT32", "2147483648"},
      {"UINT32", "true"}, {"FP32", "1e39"},    {"FP32", "\"1\""},
      {"FP32", "null"},   {"FP64", "{}"},      {"BOOL", "1"},
      {"BOOL", "\"a\""},  {"BYTES", "1"}};
  for (const auto& [type, value] : cases) {
    ExpectError("ids",
                R"({"inputs":[{"name":"ids","datatype":")" + type + R"(","shape":[1,1],"data":[)" +
                    value + "]}]}",
                400, "input 'ids'");
  }
  for (const std::string value :
       {"NaN", "Infinity", "-Infinity", "1e999", "01", "1.", ".5", "+1", "0x1", "1_0"}) {
    ExpectError(
        "echo",
        R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[)" + value + "]}]}", 400,
        "malformed JSON");
  }
  for (const std::string type : {"FP16", "BF16"}) {
    ExpectError(
        "echo",
        R"({"inputs":[{"name":"x","datatype":")" + type + R"(","shape":[1,1],"data":[1]}]})", 400,
        "binary form");
  }
}

TEST_F(KServeHttpTest, MalformedJsonIs400) {
  const std::string good = Echo().dump();
  for (size_t cut = 0; cut < good.size(); ++cut) {
    EXPECT_EQ(Infer("echo", good.substr(0, cut))->response.status, 400) << cut;
  }
  for (const std::string& tail :
       std::vector<std::string>{"x", "{}", ",", "]", std::string("\0", 1)})
    ExpectError("echo", good + tail, 400, "malformed JSON");
  for (const std::string body : {"[]", "1", "null", "\"a\""})
    ExpectError("echo", body, 400, "object");
  ExpectError("echo", "\xef\xbb\xbf" + good, 400, "malformed JSON");
  ExpectError("echo", std::string(200'000, '['), 400, "JSON");
  ExpectError("echo", R"({"x":)" + std::string(70, '[') + std::string(70, ']') + "}", 400,
              "nested deeper than 64");
}

TEST_F(KServeHttpTest, BrokenTextIs400) {
  const auto with_id = [](const std::string& id) {
    json request = Echo();
    request["id"] = "@";
    std::string text = request.dump();
    return text.replace(text.find("\"@\""), 3, "\"" + id + "\"");
  };
  EXPECT_EQ(Infer("echo", with_id("\\ud83d\\ude00"))->response.status, 200);
  for (const std::string id : {"\\ud83d", "\\ude00", "\\ud83dx", "\\ud83d\\u0041", "\xff",
                               "\xed\xa0\xbd", "\xc0\xaf", "\n", "\\x41"}) {
    ExpectError("echo", with_id(id), 400, "malformed JSON");
  }
}

TEST_F(KServeHttpTest, DuplicateKeysAre400AlsoInsideWhatNobodyReads) {
  const std::string twice = R"({"deep":[0,{"a":1,"b":{},"a":2}]})";
  const std::string once = R"({"deep":[0,{"a":1,"b":{}}]})";
  // REST stands at each place that may hold anything.
  const std::vector<std::string> places = {
      R"({"x":REST,"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]})",
      R"({"parameters":{"p":REST},"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]})",
      R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4],"x":REST}]})",
      R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4],"parameters":{"p":REST}}]})",
      R"({"outputs":[{"name":"y","x":REST}],"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]})",
      R"({"outputs":[{"name":"y","parameters":{"p":REST}}],"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]})",
  };
  for (const std::string& place : places) {
    const auto with = [&](const std::string& rest) {
      return std::string(place).replace(place.find("REST"), 4, rest);
    };
    ExpectError("echo", with(twice), 400, "the key 'a' is given twice");
    EXPECT_EQ(Infer("echo", with(once))->response.status, 200) << with(once);
  }
}

TEST_F(KServeHttpTest, DuplicateKeysAre400WhereverTheyAreRead) {
  const std::string input = R"({"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]})";
  ExpectError("echo", R"({"inputs":[],"inputs":[)" + input + "]}", 400, "given twice");
  ExpectError("echo", R"({"a":1,"a":1,"inputs":[)" + input + "]}", 400, "'a' is given twice");
  ExpectError(
      "echo",
      R"({"inputs":[{"name":"x","name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]})",
      400, "twice");
  ExpectError("echo", R"({"parameters":{"timeout":1,"timeout":2},"inputs":[)" + input + "]}", 400,
              "twice");
  ExpectError("echo", R"({"outputs":[{"name":"y","name":"y"}],"inputs":[)" + input + "]}", 400,
              "twice");
}

TEST_F(KServeHttpTest, WrongTensorsAre400AndNamed) {
  const auto changed = [](auto change) {
    json request = Echo();
    change(request);
    return request.dump();
  };
  ExpectError("echo", "{}", 400, "no 'inputs'");
  ExpectError("echo", changed([](json& r) { r["inputs"] = json::array(); }), 400,
              "model 'echo': input 'x' is missing, expected FP32 [-1,4]");
  ExpectError("echo", changed([](json& r) { r["inputs"] = "x"; }), 400, "inputs");
  ExpectError("echo", changed([](json& r) { r["inputs"][0] = 1; }), 400, "object");
  ExpectError("echo", changed([](json& r) { r["inputs"][0]["name"] = "zz"; }), 400,
              "model 'echo': unknown input 'zz'");
  ExpectError("echo", changed([](json& r) { r["inputs"][0].erase("name"); }), 400, "no name");
  ExpectError("echo", changed([](json& r) { r["inputs"].push_back(r["inputs"][0]); }), 400,
              "'x' is given twice");
  ExpectError("echo", changed([](json& r) { r["inputs"][0]["datatype"] = "FP33"; }), 400,
              "unknown datatype 'FP33'");
  ExpectError("echo", changed([](json& r) { r["inputs"][0]["datatype"] = "fp32"; }), 400,
              "unknown datatype");
  ExpectError("echo", changed([](json& r) { r["inputs"][0].erase("datatype"); }), 400,
              "datatype is missing");
  ExpectError("echo", changed([](json& r) { r["inputs"][0].erase("shape"); }), 400,
              "shape is missing");
  ExpectError("echo", changed([](json& r) { r["inputs"][0].erase("data"); }), 400,
              "either data or");
  ExpectError("echo", changed([](json& r) { r["inputs"][0]["data"] = 5; }), 400,
              "data: expected an array");
  ExpectError("echo", changed([](json& r) {
                r["inputs"][0]["data"] = {1, 2, 3};
              }),
              400, "input 'x': shape [1,4] has 4 elements, the data has 3");
  ExpectError("echo", changed([](json& r) {
                r["inputs"][0]["data"] = {1, 2, 3, 4, 5};
              }),
              400, "has 5");
  ExpectError("echo", changed([](json& r) {
                r["inputs"][0]["shape"] = {2, 2};
                r["inputs"][0]["data"] = {{1, 2, 3}, {4}};
              }),
              400, "does not match the shape");
  ExpectError("echo", changed([](json& r) {
                r["inputs"][0]["shape"] = {2, 2};
                r["inputs"][0]["data"] = {{1, 2, 3}, 4};
              }),
              400, "");
  ExpectError("echo", changed([](json& r) { r["inputs"][0]["data"] = {{{1, 2, 3, 4}}}; }), 400, "");
  ExpectError("echo", changed([](json& r) {
                r["outputs"] = {{{"name", "z"}}};
              }),
              400, "model 'echo': unknown output 'z'");
  ExpectError("echo", changed([](json& r) {
                r["outputs"] = {{{"name", "y"}}, {{"name", "y"}}};
              }),
              400, "asked for twice");
  ExpectError("echo", changed([](json& r) { r["inputs"][0]["datatype"] = "FP64"; }), 400,
              "expected FP32, got FP64");
}

TEST_F(KServeHttpTest, HostileShapesAre400) {
  for (const std::string shape :
       {"[-1,4]", "[9223372036854775807,9223372036854775807]", "[4294967296,4294967296,4]",
        "[9223372036854775808]", "[1.0,4]", "[\"1\",4]", "4", "[1,1,1,1,1,1,1,1,4]",
        "[0,9223372036854775807,9223372036854775807]", "[2305843009213693952]", "[null]"}) {
    ExpectError(
        "echo",
        R"({"inputs":[{"name":"x","datatype":"FP32","shape":)" + shape + R"(,"data":[1,2,3,4]}]})",
        400, "input 'x'");
  }
}

TEST_F(KServeHttpTest, BinarySizesThatDoNotAddUpAre400) {
  const std::string data = Floats({1, 2, 3, 4});
  const auto expect = [&](const json& head, const std::string& tail, const std::string& part) {
    ExpectError("echo", head.dump() + tail, 400, part, JsonSize(head.dump().size()));
  };
  expect(BinaryHead(16), data.substr(0, 8), "only 8 bytes are left");
  expect(BinaryHead(8), data.substr(0, 8), "FP32 [1,4] takes 16 bytes, got 8");
  expect(BinaryHead(16), data + "x", "1 bytes follow the last binary input");
  expect(BinaryHead(UINT64_MAX), data, "only 16 bytes are left");
  expect(BinaryHead(0), "", "takes 16 bytes, got 0");
  json both = BinaryHead(16);
  both["inputs"][0]["data"] = {1, 2, 3, 4};
  expect(both, data, "got both");
  json negative = BinaryHead(16);
  negative["inputs"][0]["parameters"]["binary_data_size"] = -16;
  expect(negative, data, "whole number");
  const std::string head = BinaryHead(16).dump();
  ExpectError("echo", head + data, 400, "malformed JSON");  // the header is missing
  ExpectError("echo", head + data, 400, "but the body has", JsonSize(head.size() + 17));
  ExpectError("echo", head + data, 400, "malformed JSON", JsonSize(head.size() - 1));
  ExpectError("echo", head + data, 400, "malformed JSON", JsonSize(head.size() + 1));
  ExpectError("echo", head + data, 400, "FP32 [1,4] takes 16", JsonSize(0));  // all of it is data
  for (const std::string bad : {"x", "-1", "1 ", "1.0", "99999999999999999999"}) {
    ExpectError("echo", head + data, 400, "expected a whole number",
                {{"Inference-Header-Content-Length", bad}});
  }
  for (const std::string& elements :
       {std::string("\x05\0\0\0ab", 6), std::string("\xff\xff\xff\xff", 4),
        std::string("\x01\0", 2), std::string("\x01\0\0\0ab", 6)}) {
    const json request = {{"inputs",
                           {{{"name", "s"},
                             {"datatype", "BYTES"},
                             {"shape", {1, 1}},
                             {"parameters", {{"binary_data_size", elements.size()}}}}}}};
    ExpectError("text", request.dump() + elements, 400, "input 's'",
                JsonSize(request.dump().size()));
  }
}

TEST_F(KServeHttpTest, ARawBinaryRequestIsTheOnlyInputsData) {
  const std::string data = Floats({1, 2, 3, -4});
  const auto exchange = Infer("echo", data, JsonSize(0));
  ASSERT_EQ(exchange->response.status, 200) << exchange->response.body;
  EXPECT_EQ(exchange->response.content_type, "application/octet-stream");
  const std::string& body = exchange->response.body;
  const json head = json::parse(body.substr(0, body.size() - data.size()));
  EXPECT_EQ(head["outputs"][0]["shape"], json({1, 4}));
  EXPECT_EQ(head["outputs"][0]["parameters"]["binary_data_size"], data.size());
  EXPECT_EQ(body.substr(body.size() - data.size()), data);
  EXPECT_THAT(Infer("text", "hello", JsonSize(0))->response.body, HasSubstr("hello"));
  ExpectError("types", data, 400, "needs a model with one input, this one has", JsonSize(0));
  ExpectError("echo", data + data, 400, "FP32 [1,4] takes 16", JsonSize(0));
}

TEST_F(KServeHttpTest, ExtensionsAreThoseOfBothProtocols) {
  EXPECT_EQ(Get("/v2")["extensions"], json(kServerExtensions));
}

TEST_F(KServeHttpTest, WhatIsKnownButNotSupportedIs501AndNamed) {
  for (const std::string key : {"sequence_id", "sequence_start", "sequence_end"}) {
    json request = Echo();
    request["parameters"][key] = key == "sequence_id" ? json(5) : json(true);
    ExpectError("echo", request.dump(), 501, key);
    request["parameters"][key] = key == "sequence_id" ? json(0) : json(false);
    EXPECT_EQ(Infer("echo", request.dump())->response.status, 200);
  }
  json request = Echo();
  request["inputs"][0]["parameters"]["shared_memory_region"] = "r";
  ExpectError("echo", request.dump(), 501, "shared_memory_region");
  for (const std::string path :
       {"/v2/systemsharedmemory/status", "/v2/cudasharedmemory/region/r/register"}) {
    EXPECT_EQ(Send(HttpMethod::kPost, path)->response.status, 501);
  }
}

TEST_F(KServeHttpTest, PriorityAndDeadlinesReachTheModel) {
  json request = Echo();
  request["parameters"] = {{"priority", 3}, {"timeout", 2'000'000}};
  const Time before = SteadyClock::Instance().Now();
  Infer("echo", request.dump());
  FakeModel& model = service_.model("echo");
  EXPECT_EQ(model.last_priority(), 3);
  EXPECT_GE(model.last_deadline(), before + std::chrono::seconds(2));
  EXPECT_LT(model.last_deadline(), before + std::chrono::seconds(60));
  Infer("echo", request.dump(), {{"X-Request-Timeout-Ms", "1000"}});
  EXPECT_LE(model.last_deadline(), SteadyClock::Instance().Now() + std::chrono::seconds(1));
  Infer("echo", Echo().dump());
  EXPECT_EQ(model.last_deadline(), kNever);
  EXPECT_EQ(model.last_priority(), 0);
  ExpectError("echo", Echo().dump(), 400, "X-Request-Timeout-Ms",
              {{"X-Request-Timeout-Ms", "soon"}});
  request["parameters"] = {{"priority", 17}};
  ExpectError("echo", request.dump(), 400, "priority");
  request["parameters"] = {{"timeout", -1}};
  ExpectError("echo", request.dump(), 400, "timeout");
  request["parameters"] = {{"timeout", UINT64_MAX}};
  EXPECT_EQ(Infer("echo", request.dump())->response.status, 200);
}

TEST_F(KServeHttpTest, ServerTimingCarriesTheStages) {
  EXPECT_EQ(Infer("echo", Echo().dump())->Field("Server-Timing"),
            "queue;dur=1.500, batch;dur=0.020, compute;dur=0.300");
}

TEST_F(KServeHttpTest, NonFiniteOutputsBecomeNullWithAWarning) {
  const json head = BinaryHead(16);
  const auto exchange = Infer("echo", head.dump() + Floats({1, NAN, INFINITY, -INFINITY}),
                              JsonSize(head.dump().size()));
  EXPECT_EQ(json::parse(exchange->response.body)["outputs"][0]["data"],
            json({1, nullptr, nullptr, nullptr}));
  EXPECT_EQ(exchange->Field("X-Evenkeel-Warning"), "output 'y': 3 non-finite values sent as null");
}

TEST_F(KServeHttpTest, ClassificationGivesTheBestWithTheirNames) {
  json request = Echo();
  request["outputs"] = {{{"name", "y"}, {"parameters", {{"classification", 2}}}}};
  const json output = InferJson("echo", request)["outputs"][0];
  EXPECT_EQ(output["datatype"], "BYTES");
  EXPECT_EQ(output["shape"], json({1, 2}));
  EXPECT_EQ(output["data"], json({"2.500000:1:one", "1.000000:0:zero"}));
  json text = {
      {"inputs", {{{"name", "s"}, {"datatype", "BYTES"}, {"shape", {1, 1}}, {"data", {"a"}}}}},
      {"outputs", {{{"name", "t"}, {"parameters", {{"classification", 1}}}}}}};
  ExpectError("text", text.dump(), 400, "cannot be classified");
}

TEST_F(KServeHttpTest, AnswersAreCompressedOnlyForClientsThatAskForNothingElse) {
  json request = Echo();
  const auto gzip = Infer("echo", request.dump(), {{"Accept-Encoding", "gzip"}});
  EXPECT_EQ(gzip->Field("Content-Encoding"), "gzip");
  const auto plain = Inflate(std::as_bytes(std::span(gzip->response.body)), Coding::kGzip, 10'000);
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(json::parse(*plain)["model_name"], "echo");
  EXPECT_EQ(
      Infer("echo", request.dump(), {{"Accept-Encoding", "deflate"}})->Field("Content-Encoding"),
      "deflate");
  EXPECT_EQ(Infer("echo", request.dump(), {{"Accept-Encoding", "gzip, deflate, br"}})
                ->Field("Content-Encoding"),
            "");
}

TEST_F(KServeHttpTest, ErrorsOfTheModelHaveTheirStatus) {
  FakeModel& model = service_.model("echo");
  for (const auto& [error, status] :
       {std::pair(Overloaded("full"), 429), std::pair(Unavailable("restarting"), 503),
        std::pair(DeadlineExceeded("late"), 504), std::pair(Internal("crash"), 500)}) {
    model.Fail(error);
    const auto exchange = Infer("echo", Echo().dump());
    EXPECT_EQ(exchange->response.status, status);
    EXPECT_EQ(exchange->Field("Retry-After").empty(), status == 504 || status == 500);
    EXPECT_EQ(json::parse(exchange->response.body)["error"], error.message());
  }
}

TEST_F(KServeHttpTest, AClientThatLeavesCancelsItsCall) {
  service_.model("echo").Hold(true);
  TestExchange exchange(HttpMethod::kPost, "/v2/models/echo/infer", Echo().dump());
  router_.Handle(exchange);
  EXPECT_EQ(exchange.answers, 0);
  exchange.Cancel();
  EXPECT_EQ(exchange.answers, 1);
  EXPECT_EQ(exchange.response.status, 499);
  EXPECT_EQ(service_.model("echo").cancels(), 1);
}

TEST_F(KServeHttpTest, UnknownModelsVersionsAndPathsAre404) {
  ExpectError("nope", Echo().dump(), 404, "nope");
  EXPECT_EQ(
      Send(HttpMethod::kPost, "/v2/models/echo/versions/9/infer", Echo().dump())->response.status,
      404);
  ExpectError("loading", Echo().dump(), 503, "loading");
  for (const std::string path :
       {"/v3", "/v2/x", "/v2/models/echo/x", "/v2/models/echo/ready/x", "/v2/models",
        "/v2/models/echo/versions/1/ready/x", "/a/b/c/d/e/f/g/h/i/j", "/v2/evenkeel/x", "/%00"}) {
    EXPECT_EQ(Send(HttpMethod::kGet, path)->response.status, 404) << path;
  }
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/models/%ff")->response.status, 404);
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/models/%f")->response.status, 400);
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/models/%65cho")->response.status, 200);
}

TEST_F(KServeHttpTest, WrongMethodsAre405WithAllow) {
  const auto infer = Send(HttpMethod::kGet, "/v2/models/echo/infer");
  EXPECT_EQ(infer->response.status, 405);
  EXPECT_EQ(infer->Field("Allow"), "POST");
  for (const std::string path :
       {"/v2", "/v2/health/live", "/v2/models/echo", "/v2/models/stats", "/metrics", "/livez"}) {
    const auto exchange = Send(HttpMethod::kPost, path);
    EXPECT_EQ(exchange->response.status, 405) << path;
    EXPECT_EQ(exchange->Field("Allow"), "GET, HEAD") << path;
  }
}

TEST_F(KServeHttpTest, WrongContentTypeIs415) {
  ExpectError("echo", Echo().dump(), 415, "Content-Type",
              {{"Content-Type", "multipart/form-data; boundary=x"}});
  EXPECT_EQ(Infer("echo", Echo().dump(), {{"Content-Type", "application/json; charset=utf-8"}})
                ->response.status,
            200);
}

TEST_F(KServeHttpTest, HealthAndReadiness) {
  EXPECT_EQ(Get("/v2/health/live")["live"], true);
  EXPECT_EQ(Get("/v2/health/ready")["ready"], true);
  EXPECT_EQ(Get("/v2/models/echo/ready")["ready"], true);
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/models/loading/ready")->response.status, 503);
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/models/nope/ready")->response.status, 404);
  service_.SetReady(false);
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/health/ready")->response.status, 503);
  EXPECT_EQ(Send(HttpMethod::kGet, "/livez")->response.status, 200);
  EXPECT_EQ(Send(HttpMethod::kGet, "/health")->response.status, 503);
  const auto why = Send(HttpMethod::kGet, "/readyz?verbose");
  EXPECT_EQ(why->response.status, 503);
  EXPECT_EQ(why->response.body, "[-] model 'loading': LOADING\nnot ready\n");
}

TEST_F(KServeHttpTest, DocumentsOfTheProtocol) {
  EXPECT_EQ(Get("/v2")["name"], "evenkeel");
  const json metadata = Get("/v2/models/echo");
  EXPECT_EQ(metadata["inputs"][0], json({{"name", "x"}, {"datatype", "FP32"}, {"shape", {-1, 4}}}));
  EXPECT_EQ(metadata["versions"], json({"1"}));
  EXPECT_EQ(Get("/v2/models/echo/config")["max_batch_size"], 64);
  EXPECT_EQ(Get("/v2/models/echo/batching")["policy"], "auto");
  Get("/v2/models/nobody/batching", 404);
  EXPECT_EQ(Get("/v2/models/echo/versions/1/stats")["model_stats"][0]["name"], "echo");
  EXPECT_EQ(Get("/v2/models/stats")["model_stats"].size(), 4U);
  EXPECT_TRUE(
      Get("/v2/models/stats")["model_stats"][0]["batch_stats"][0].contains("compute_infer"));
  EXPECT_EQ(Get("/v2/logging")["log_info"], true);
  EXPECT_EQ(Get("/v2/trace/setting")["trace_level"], json({"OFF"}));
  EXPECT_EQ(Get("/v2/models/echo/trace/setting")["trace_mode"], "triton");
  EXPECT_THAT(Send(HttpMethod::kGet, "/metrics")->response.body, HasSubstr("evenkeel_up 1"));
}

TEST_F(KServeHttpTest, RepositoryListsLoadsAndUnloads) {
  EXPECT_EQ(json::parse(Send(HttpMethod::kPost, "/v2/repository/index")->response.body).size(), 5U);
  EXPECT_EQ(json::parse(
                Send(HttpMethod::kPost, "/v2/repository/index", R"({"ready":true})")->response.body)
                .size(),
            4U);
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/repository/index", R"({"ready":1})")->response.status,
            400);
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/repository/models/echo/load",
                 R"({"parameters":{"config":"{}"}})")
                ->response.status,
            200);
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/repository/models/echo/unload",
                 R"({"parameters":{"unload_dependents":false}})")
                ->response.status,
            200);
  EXPECT_EQ(service_.actions(), (std::vector<std::string>{"load echo {}", "unload echo"}));
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/repository/models/nope/load")->response.status, 404);
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/repository/models/echo/load",
                 R"({"parameters":{"file:1/m.onnx":"AA=="}})")
                ->response.status,
            501);
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/repository/models/echo/load", "{")->response.status, 400);
  service_.FailLoads(Conflict("busy"));
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/repository/models/echo/load")->response.status, 409);
}

TEST_F(KServeHttpTest, ControlDocumentsAreReadStrictly) {
  // A million levels were copied once a level before their type was looked at: the stack overflowed.
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  const char* const targets[] = {"/v2/repository/index", "/v2/repository/models/echo/load",
                                 "/v2/repository/models/echo/unload", "/v2/logging",
                                 "/v2/trace/setting"};
  for (const std::string target : targets) {
    for (const std::string key : {"ready", "parameters", "log_info", "trace_level"}) {
      const std::string body = "{\"" + key + "\":" + deep + "}";
      const auto answer = Send(HttpMethod::kPost, target, body)->response;
      EXPECT_EQ(answer.status, 400) << target << " " << key;
      EXPECT_THAT(answer.body, HasSubstr("nested deeper than 8 levels")) << target;
    }
    for (const std::string body : {R"({"a":1,"a":1})", R"({} {})", R"([])", R"({"a")", "\xff"}) {
      EXPECT_EQ(Send(HttpMethod::kPost, target, body)->response.status, 400) << target << body;
    }
    const std::string large = "{\"a\":\"" + std::string(size_t{3} << 20, 'x') + "\"}";
    EXPECT_EQ(Send(HttpMethod::kPost, target, large)->response.status, 413) << target;
  }
  EXPECT_TRUE(service_.actions().empty());
}

TEST_F(KServeHttpTest, LogSettingsCanBeChangedTracesNot) {
  // Other threads may be writing with it.
  const std::shared_ptr<spdlog::logger> logger = spdlog::default_logger();
  EXPECT_EQ(json::parse(Send(HttpMethod::kPost, "/v2/logging", R"({"log_verbose_level":1})")
                            ->response.body)["log_verbose_level"],
            1);
  EXPECT_EQ(Get("/v2/logging")["log_verbose_level"], 1);
  EXPECT_EQ(spdlog::default_logger(), logger);
  EXPECT_EQ(spdlog::get_level(), spdlog::level::debug);
  Send(HttpMethod::kPost, "/v2/logging", R"({"log_verbose_level":0})");
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/logging", R"({"log_file":"/etc/x"})")->response.status,
            400);
  EXPECT_EQ(
      Send(HttpMethod::kPost, "/v2/trace/setting", R"({"trace_level":["OFF"]})")->response.status,
      200);
  EXPECT_EQ(Send(HttpMethod::kPost, "/v2/trace/setting", R"({"trace_level":["TENSORS"]})")
                ->response.status,
            501);
}

TEST_F(KServeHttpTest, CommandLinePages) {
  EXPECT_EQ(Get("/v2/evenkeel/models")["models"].size(), 4U);
  EXPECT_EQ(Get("/v2/evenkeel/models/echo")["name"], "echo");
  EXPECT_EQ(Get("/v2/evenkeel/samples")["samples"][0]["kept"], 2);
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/evenkeel/samples/echo")->response.body.size(), 10U);
  EXPECT_EQ(Send(HttpMethod::kGet, "/v2/evenkeel/samples/nope")->response.status, 404);
  EXPECT_EQ(Send(HttpMethod::kDelete, "/v2/evenkeel/samples/echo")->response.status, 200);
  EXPECT_EQ(Send(HttpMethod::kDelete, "/v2/evenkeel/samples")->response.status, 200);
  EXPECT_EQ(service_.actions(), (std::vector<std::string>{"rm-samples echo", "rm-samples "}));
}

TEST_F(KServeHttpTest, TheMetricsPortServesNothingElse) {
  HttpRouter metrics(service_, Authorizer::Off(), HttpPages::kMetrics);
  TestExchange page(HttpMethod::kGet, "/metrics"),
      infer(HttpMethod::kPost, "/v2/models/echo/infer", Echo().dump());
  metrics.Handle(page);
  metrics.Handle(infer);
  EXPECT_EQ(page.response.status, 200);
  EXPECT_EQ(infer.response.status, 404);
}

}  // namespace
}  // namespace evenkeel
