// Reader and writer against protobuf's own code: what one writes the other reads, and both refuse the same bytes.
#include "frontends/grpc_wire.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "frontends/grpc_response.h"
#include "frontends/grpc_wire_reader.h"
#include "proto/grpc_service.pb.h"

namespace evenkeel {
namespace {

using Random = std::mt19937_64;

size_t Below(Random& random, size_t n) {
  return std::uniform_int_distribution<size_t>(0, n - 1)(random);
}

std::string RandomText(Random& random, bool utf8 = true) {
  std::string text;
  const size_t length = Below(random, 4) == 0 ? 200 : Below(random, 12);
  for (size_t i = 0; i < length; ++i)
    text.push_back(static_cast<char>(utf8 ? 'a' + Below(random, 26) : Below(random, 256)));
  if (utf8 && Below(random, 4) == 0) text += "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
  return text;
}

inference::InferParameter RandomParameter(Random& random) {
  inference::InferParameter value;
  switch (Below(random, 6)) {
    case 0: value.set_bool_param(Below(random, 2) != 0); break;
    case 1: value.set_int64_param(static_cast<int64_t>(random())); break;
    case 2: value.set_string_param(RandomText(random)); break;
    case 3: value.set_double_param(static_cast<double>(random()) / 3); break;
    case 4: value.set_uint64_param(random()); break;
    default: break;
  }
  return value;
}

inference::ModelInferRequest RandomRequest(Random& random) {
  inference::ModelInferRequest request;
  request.set_model_name(RandomText(random));
  request.set_model_version(RandomText(random));
  request.set_id(RandomText(random));
  for (size_t i = Below(random, 3); i > 0; --i)
    (*request.mutable_parameters())[RandomText(random)] = RandomParameter(random);
  for (size_t i = Below(random, 4); i > 0; --i) {
    auto* const input = request.add_inputs();
    input->set_name(RandomText(random));
    input->set_datatype(RandomText(random));
    for (size_t d = Below(random, 11); d > 0; --d)
      input->add_shape(static_cast<int64_t>(random()) >> Below(random, 64));
    for (size_t p = Below(random, 2); p > 0; --p)
      (*input->mutable_parameters())[RandomText(random)] = RandomParameter(random);
    if (Below(random, 2) == 0)
      input->mutable_contents()->add_int64_contents(static_cast<int64_t>(random()));
  }
  for (size_t i = Below(random, 3); i > 0; --i) {
    auto* const output = request.add_outputs();
    output->set_name(RandomText(random));
    (*output->mutable_parameters())["classification"].set_int64_param(3);
  }
  for (size_t i = Below(random, 3); i > 0; --i)
    request.add_raw_input_contents(RandomText(random, false));
  return request;
}

// The bytes in slices of their own allocations, so that reading past one is caught by the sanitizers.
struct Sliced {
  Sliced(Random& random, std::string_view bytes) {
    while (!bytes.empty()) {
      const size_t size = std::min(
          bytes.size(), Below(random, 2) == 0 ? 1 + Below(random, 8) : 1 + Below(random, 300));
      storage.emplace_back(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      if (Below(random, 8) == 0) storage.emplace_back();  // an empty slice
      bytes.remove_prefix(size);
    }
    for (const auto& slice : storage) views.push_back(std::as_bytes(std::span(slice)));
  }
  std::vector<std::vector<char>> storage;
  std::vector<ByteSpan> views;
};

std::string_view Chars(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void ExpectEqual(const WireParameter& got, const inference::InferParameter& want) {
  using Kind = WireParameter::Kind;
  switch (want.parameter_choice_case()) {
    case inference::InferParameter::kBoolParam:
      EXPECT_EQ(got.kind, Kind::kBool);
      EXPECT_EQ(got.number != 0, want.bool_param());
      break;
    case inference::InferParameter::kInt64Param:
      EXPECT_EQ(got.kind, Kind::kInt64);
      EXPECT_EQ(got.number, want.int64_param());
      break;
    case inference::InferParameter::kStringParam:
      EXPECT_EQ(got.kind, Kind::kString);
      EXPECT_EQ(got.text, want.string_param());
      break;
    case inference::InferParameter::kDoubleParam:
      EXPECT_EQ(got.kind, Kind::kDouble);
      EXPECT_EQ(std::memcmp(&got.real, std::array{want.double_param()}.data(), sizeof(double)), 0);
      break;
    case inference::InferParameter::kUint64Param:
      EXPECT_EQ(got.kind, Kind::kUint64);
      EXPECT_EQ(static_cast<uint64_t>(got.number), want.uint64_param());
      break;
    default: EXPECT_EQ(got.kind, Kind::kNone);
  }
}

template <typename Map>
void ExpectEqual(const std::vector<WireParameter>& got, const Map& want) {
  for (const auto& [key, value] : want) {
    const WireParameter* const parameter = FindParameter(got, key);
    ASSERT_NE(parameter, nullptr) << key;
    ExpectEqual(*parameter, value);
  }
}

void ExpectEqual(const WireInferRequest& got, const inference::ModelInferRequest& want) {
  EXPECT_EQ(got.model_name, want.model_name());
  EXPECT_EQ(got.model_version, want.model_version());
  EXPECT_EQ(got.id, want.id());
  ExpectEqual(got.parameters, want.parameters());
  ASSERT_EQ(got.inputs.size(), static_cast<size_t>(want.inputs_size()));
  for (int i = 0; i < want.inputs_size(); ++i) {
    const WireTensor& input = got.inputs[static_cast<size_t>(i)];
    EXPECT_EQ(input.name, want.inputs(i).name());
    EXPECT_EQ(input.datatype, want.inputs(i).datatype());
    EXPECT_EQ(input.rank, static_cast<size_t>(want.inputs(i).shape_size()));
    for (int d = 0; d < input.shape.rank(); ++d) EXPECT_EQ(input.shape[d], want.inputs(i).shape(d));
    EXPECT_EQ(input.contents.empty(), !want.inputs(i).has_contents());
    ExpectEqual(input.parameters, want.inputs(i).parameters());
  }
  ASSERT_EQ(got.outputs.size(), static_cast<size_t>(want.outputs_size()));
  for (int i = 0; i < want.outputs_size(); ++i) {
    EXPECT_EQ(got.outputs[static_cast<size_t>(i)].name, want.outputs(i).name());
    ExpectEqual(got.outputs[static_cast<size_t>(i)].parameters, want.outputs(i).parameters());
  }
  ASSERT_EQ(got.raw.size(), static_cast<size_t>(want.raw_input_contents_size()));
  for (int i = 0; i < want.raw_input_contents_size(); ++i)
    EXPECT_EQ(Chars(got.raw[static_cast<size_t>(i)]), want.raw_input_contents(i));
}

Status ReadOne(std::string_view bytes, WireInferRequest* request, CallArena& arena) {
  const ByteSpan slice = std::as_bytes(std::span(bytes));
  return ReadInferRequest(std::span(&slice, 1), arena, request);
}

TEST(GrpcWireTest, ReadsWhatProtobufWritesHoweverItIsSliced) {
  Random random(1);
  for (int round = 0; round < 3000; ++round) {
    const inference::ModelInferRequest message = RandomRequest(random);
    const Sliced sliced(random, message.SerializeAsString());
    WireInferRequest request;
    CallArena arena;
    const Status status = ReadInferRequest(sliced.views, arena, &request);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ExpectEqual(request, message);
    if (HasFailure()) FAIL() << message.DebugString();
  }
}

// Contents are read later by DecodeContents(), so that they may be broken where protobuf already refuses.
TEST(GrpcWireTest, AgreesWithProtobufOnBrokenMessages) {
  Random random(2);
  const google::protobuf::LogSilencer quiet;
  int accepted = 0, refused = 0;
  for (int round = 0; round < 20000; ++round) {
    inference::ModelInferRequest message = RandomRequest(random);
    for (auto& input : *message.mutable_inputs()) input.clear_contents();
    std::string bytes = message.SerializeAsString();
    if (bytes.empty()) continue;
    for (size_t i = 1 + Below(random, 3); i > 0; --i) {
      switch (Below(random, 3)) {
        case 0: bytes[Below(random, bytes.size())] = static_cast<char>(random()); break;
        case 1: bytes.resize(1 + Below(random, bytes.size())); break;
        default: bytes.insert(Below(random, bytes.size()), 1, static_cast<char>(random()));
      }
    }
    inference::ModelInferRequest parsed;
    const bool expected = parsed.ParseFromString(bytes);
    const Sliced sliced(random, bytes);
    WireInferRequest request;
    CallArena arena;
    const Status status = ReadInferRequest(sliced.views, arena, &request);
    if (expected) {
      ASSERT_TRUE(status.ok()) << status.ToString() << "\n" << parsed.DebugString();
      ExpectEqual(request, parsed);
      ++accepted;
    } else {
      // A mutation may have made contents, which are read later.
      bool unread = false;
      for (const auto& input : request.inputs) unread = unread || !input.contents.empty();
      EXPECT_FALSE(status.ok() && !unread);
      ++refused;
    }
    if (HasFailure()) FAIL() << parsed.DebugString();
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

TEST(GrpcWireTest, ATensorInOneSliceIsNotCopied) {
  inference::ModelInferRequest message;
  message.add_raw_input_contents("0123456789");
  const std::string bytes = message.SerializeAsString();
  WireInferRequest request;
  CallArena arena;
  ASSERT_TRUE(ReadOne(bytes, &request, arena).ok());
  EXPECT_EQ(reinterpret_cast<const char*>(request.raw[0].data()), bytes.data() + bytes.size() - 10);
}

TEST(GrpcWireTest, LengthsThatLieAreRefusedBeforeMemoryIsTaken) {
  for (const std::string_view bytes :
       {std::string_view("\x3a\xff\xff\xff\x7f", 5),
        std::string_view("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11),
        std::string_view("\x3a\x05"
                         "abcd",
                         6),
        std::string_view("\x0a", 1), std::string_view("\x2a\x7f\x0a\x01x", 5)}) {
    WireInferRequest request;
    CallArena arena;
    EXPECT_EQ(ReadOne(bytes, &request, arena).code(), Code::kInvalidArgument);
  }
}

TEST(GrpcWireTest, GroupsAreSkippedWhenTheyCloseAndRefusedWhenTheyDoNot) {
  WireInferRequest request;
  CallArena arena;
  EXPECT_TRUE(ReadOne("\x83\x01\x8b\x01\x8c\x01\x84\x01", &request, arena).ok());  // 16 { 17 { } }
  EXPECT_FALSE(
      ReadOne("\x83\x01\x8b\x01\x84\x01\x8c\x01", &request, arena).ok());  // closed crosswise
  EXPECT_FALSE(ReadOne("\x83\x01", &request, arena).ok());
  EXPECT_FALSE(ReadOne("\x84\x01", &request, arena).ok());
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "\x83\x01";
  EXPECT_FALSE(ReadOne(deep, &request, arena).ok());
}

TEST(GrpcWireTest, CountsAreCapped) {
  const auto repeat = [](std::string_view field, size_t times) {
    std::string bytes;
    for (size_t i = 0; i < times; ++i) bytes += field;
    return bytes;
  };
  for (const std::string_view field :
       {std::string_view("\x2a\x00", 2), std::string_view("\x32\x00", 2),
        std::string_view("\x3a\x00", 2)}) {
    WireInferRequest request;
    CallArena arena;
    EXPECT_TRUE(ReadOne(repeat(field, kMaxWireTensors), &request, arena).ok());
    request.Clear();
    EXPECT_EQ(ReadOne(repeat(field, kMaxWireTensors + 1), &request, arena).code(), Code::kTooLarge);
  }
  WireInferRequest request;
  CallArena arena;
  EXPECT_EQ(
      ReadOne(repeat(std::string_view("\x22\x00", 2), kMaxWireParameters + 1), &request, arena)
          .code(),
      Code::kTooLarge);
}

TEST(GrpcWireTest, StringsMustBeUtf8) {
  for (const std::string_view good :
       {"", "abc", "\xc3\xa9", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"})
    EXPECT_TRUE(IsUtf8(good)) << good;
  for (const std::string_view bad :
       {"\xff", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xc3", "a\xe2\x82", "\x80"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

// --- typed contents ---

struct Decoded {
  Status status;
  std::string bytes;
};

Decoded Decode(const inference::InferTensorContents& contents, DataType type, uint64_t seed = 3) {
  inference::ModelInferRequest message;
  auto* const input = message.add_inputs();
  input->set_name("x");
  *input->mutable_contents() = contents;
  Random random(seed);
  const Sliced sliced(random, message.SerializeAsString());
  WireInferRequest request;
  CallArena arena;
  EXPECT_TRUE(ReadInferRequest(sliced.views, arena, &request).ok());
  const auto decoded = DecodeContents(sliced.views, request.inputs.at(0), type, arena);
  if (!decoded.ok()) return {decoded.status(), {}};
  return {Status::Ok(), std::string(Chars(*decoded))};
}

template <typename T>
std::string Dense(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

TEST(GrpcContentsTest, EveryTypedFieldBecomesADenseTensor) {
  inference::InferTensorContents c;
  for (const bool v : {true, false, true}) c.add_bool_contents(v);
  EXPECT_EQ(Decode(c, DataType::kBool).bytes, Dense<uint8_t>({1, 0, 1}));
  c.Clear();
  for (const int v : {-128, 0, 127}) c.add_int_contents(v);
  EXPECT_EQ(Decode(c, DataType::kInt8).bytes, Dense<int8_t>({-128, 0, 127}));
  EXPECT_EQ(Decode(c, DataType::kInt16).bytes, Dense<int16_t>({-128, 0, 127}));
  EXPECT_EQ(Decode(c, DataType::kInt32).bytes, Dense<int32_t>({-128, 0, 127}));
  c.Clear();
  for (const int64_t v : {std::numeric_limits<int64_t>::min(), int64_t{5}}) c.add_int64_contents(v);
  EXPECT_EQ(Decode(c, DataType::kInt64).bytes,
            Dense<int64_t>({std::numeric_limits<int64_t>::min(), 5}));
  c.Clear();
  for (const uint32_t v : {0U, 255U}) c.add_uint_contents(v);
  EXPECT_EQ(Decode(c, DataType::kUint8).bytes, Dense<uint8_t>({0, 255}));
  EXPECT_EQ(Decode(c, DataType::kUint16).bytes, Dense<uint16_t>({0, 255}));
  EXPECT_EQ(Decode(c, DataType::kUint32).bytes, Dense<uint32_t>({0, 255}));
  c.Clear();
  c.add_uint64_contents(std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(Decode(c, DataType::kUint64).bytes,
            Dense<uint64_t>({std::numeric_limits<uint64_t>::max()}));
  c.Clear();
  for (const float v : {1.5F, -0.0F}) c.add_fp32_contents(v);
  EXPECT_EQ(Decode(c, DataType::kFp32).bytes, Dense<float>({1.5F, -0.0F}));
  c.Clear();
  c.add_fp64_contents(1e300);
  EXPECT_EQ(Decode(c, DataType::kFp64).bytes, Dense<double>({1e300}));
  c.Clear();
  c.add_bytes_contents("ab");
  c.add_bytes_contents("");
  EXPECT_EQ(Decode(c, DataType::kBytes).bytes, std::string("\x02\0\0\0ab\0\0\0\0", 10));
}

TEST(GrpcContentsTest, LargeContentsSurviveAnySlicing) {
  inference::InferTensorContents c;
  std::string expected;
  Random random(4);
  for (int i = 0; i < 5000; ++i) {
    const auto v = static_cast<int64_t>(random()) >> Below(random, 64);
    c.add_int64_contents(v);
    expected += Dense<int64_t>({v});
  }
  for (uint64_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(Decode(c, DataType::kInt64, seed).bytes, expected);
}

TEST(GrpcContentsTest, ValuesThatDoNotFitAreRefused) {
  inference::InferTensorContents c;
  c.add_int_contents(128);
  EXPECT_EQ(Decode(c, DataType::kInt8).status.code(), Code::kInvalidArgument);
  EXPECT_TRUE(Decode(c, DataType::kInt16).status.ok());
  c.Clear();
  c.add_uint_contents(65536);
  EXPECT_EQ(Decode(c, DataType::kUint16).status.code(), Code::kInvalidArgument);
}

TEST(GrpcContentsTest, TheWrongFieldAndTypesWithoutOneAreRefused) {
  inference::InferTensorContents c;
  c.add_int_contents(1);
  EXPECT_NE(Decode(c, DataType::kFp32).status.message().find("fp32_contents"), std::string::npos);
  EXPECT_NE(Decode(c, DataType::kFp16).status.message().find("raw_input_contents"),
            std::string::npos);
  EXPECT_NE(Decode(c, DataType::kBf16).status.message().find("raw_input_contents"),
            std::string::npos);
}

TEST(GrpcContentsTest, UnpackedElementsAndSeveralPartsAreJoined) {
  // inputs { contents { int64_contents: 1 (unpacked) } contents { int64_contents: [2, 3] } }
  const std::string_view bytes("\x2a\x0a\x2a\x02\x18\x01\x2a\x04\x1a\x02\x02\x03", 12);
  WireInferRequest request;
  CallArena arena;
  const ByteSpan slice = std::as_bytes(std::span(bytes));
  ASSERT_TRUE(ReadInferRequest(std::span(&slice, 1), arena, &request).ok());
  const auto decoded =
      DecodeContents(std::span(&slice, 1), request.inputs.at(0), DataType::kInt64, arena);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(Chars(*decoded), Dense<int64_t>({1, 2, 3}));
}

TEST(GrpcContentsTest, BrokenContentsAreRefused) {
  for (const std::string_view bytes :
       {std::string_view("\x2a\x05\x2a\x03\x32\x01\x00", 7),     // fp32, packed, one byte
        std::string_view("\x2a\x05\x2a\x03\x35\x00\x00", 7)}) {  // fp32, unpacked, two bytes
    WireInferRequest request;
    CallArena arena;
    const ByteSpan slice = std::as_bytes(std::span(bytes));
    ASSERT_TRUE(ReadInferRequest(std::span(&slice, 1), arena, &request).ok());
    EXPECT_EQ(DecodeContents(std::span(&slice, 1), request.inputs.at(0), DataType::kFp32, arena)
                  .status()
                  .code(),
              Code::kInvalidArgument);
  }
}

// --- writer ---

TEST(GrpcResponseTest, ProtobufReadsWhatIsWritten) {
  Random random(5);
  for (int round = 0; round < 2000; ++round) {
    const std::string name = RandomText(random), version = RandomText(random),
                      id = RandomText(random);
    std::vector<std::string> names(Below(random, 4)), data(names.size());
    WireInferResponse response{name, version, id, {}, Below(random, 2) == 0};
    for (size_t i = 0; i < names.size(); ++i) {
      names[i] = RandomText(random);
      data[i] = RandomText(random, false);
      Shape shape;
      for (size_t d = Below(random, 9); d > 0; --d)
        shape.push_back(static_cast<int64_t>(random() >> Below(random, 64) >> 1));
      response.outputs.push_back({names[i], static_cast<DataType>(1 + Below(random, 14)), shape,
                                  std::as_bytes(std::span(data[i]))});
    }
    const InferResponseWriter writer(response);
    std::string bytes(writer.size(), '\0');
    writer.Write(reinterpret_cast<std::byte*>(bytes.data()));

    inference::ModelInferResponse parsed;
    if (response.in_stream) {
      inference::ModelStreamInferResponse wrapper;
      ASSERT_TRUE(wrapper.ParseFromString(bytes));
      EXPECT_EQ(wrapper.error_message(), "");
      parsed = wrapper.infer_response();
      EXPECT_TRUE(parsed.parameters().at("triton_final_response").bool_param());
    } else {
      ASSERT_TRUE(parsed.ParseFromString(bytes));
      EXPECT_TRUE(parsed.parameters().empty());
    }
    EXPECT_EQ(parsed.model_name(), name);
    EXPECT_EQ(parsed.model_version(), version);
    EXPECT_EQ(parsed.id(), id);
    ASSERT_EQ(parsed.outputs_size(), static_cast<int>(names.size()));
    ASSERT_EQ(parsed.raw_output_contents_size(), static_cast<int>(names.size()));
    for (int i = 0; i < parsed.outputs_size(); ++i) {
      const WireOutput& want = response.outputs[static_cast<size_t>(i)];
      EXPECT_EQ(parsed.outputs(i).name(), want.name);
      EXPECT_EQ(parsed.outputs(i).datatype(), NameOf(want.dtype));
      ASSERT_EQ(parsed.outputs(i).shape_size(), want.shape.rank());
      for (int d = 0; d < want.shape.rank(); ++d)
        EXPECT_EQ(parsed.outputs(i).shape(d), want.shape[d]);
      EXPECT_EQ(parsed.raw_output_contents(i), Chars(want.data));
    }
  }
}

TEST(GrpcResponseTest, AStreamsErrorCarriesMessageAndId) {
  for (const std::string id : {"", "r-7"}) {
    inference::ModelStreamInferResponse parsed;
    ASSERT_TRUE(parsed.ParseFromString(WriteStreamError(id, "no such model")));
    EXPECT_EQ(parsed.error_message(), "no such model");
    EXPECT_EQ(parsed.infer_response().id(), id);
  }
}

}  // namespace
}  // namespace evenkeel
