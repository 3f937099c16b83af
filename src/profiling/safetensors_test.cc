#include "profiling/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

namespace evenkeel {
namespace {

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string FileOf(const std::string& header, const std::string& data = "") {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return file + header + data;
}

TEST(SafetensorsTest, RoundTripKeepsNamesTypesShapesBytesAndMetadata) {
  const std::string floats(24, 'f');
  const std::string flags(3, '\1');
  SafeTensors content;
  content.metadata = {{"format", "x"}, {"empty", ""}, {"\u00e4", "\u4e2d"}};
  content.tensors = {{"flags", DataType::kBool, {3}, AsBytes(flags)},
                     {"a.b/c", DataType::kFp32, {2, 3}, AsBytes(floats)},
                     {"none", DataType::kInt64, {0, 5}, {}},
                     {"one", DataType::kUint8, {}, AsBytes(std::string_view("!"))}};
  const auto file = EncodeSafetensors(content);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  const auto back = DecodeSafetensors(AsBytes(*file));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->metadata, content.metadata);
  ASSERT_EQ(back->tensors.size(), content.tensors.size());
  for (const SafeTensor& tensor : content.tensors) {
    const SafeTensor* found = back->Find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->dtype, tensor.dtype);
    EXPECT_EQ(found->shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(found->data, tensor.data));
    const auto offset = static_cast<size_t>(found->data.data() - AsBytes(*file).data());
    if (!found->data.empty()) {
      EXPECT_EQ(offset % ElementSize(found->dtype), 0u) << tensor.name;
    }
  }
  EXPECT_EQ(back->Find("nothing"), nullptr);
}

TEST(SafetensorsTest, WriterRefusesWhatTheFormatCannotHold) {
  const std::string data(8, 'x');
  const auto encode = [&](SafeTensor tensor) {
    return EncodeSafetensors({{}, {std::move(tensor)}}).ok();
  };
  EXPECT_TRUE(encode({"x", DataType::kFp32, {2}, AsBytes(data)}));
  EXPECT_FALSE(encode({"x", DataType::kFp32, {3}, AsBytes(data)}));
  EXPECT_FALSE(encode({"x", DataType::kBytes, {2}, AsBytes(data)}));
  EXPECT_FALSE(encode({"__metadata__", DataType::kFp32, {2}, AsBytes(data)}));
  EXPECT_FALSE(encode({"\xff", DataType::kFp32, {2}, AsBytes(data)}));
  EXPECT_FALSE(encode({"x", DataType::kFp32, {uint64_t{1} << 62, 16}, AsBytes(data)}));
  const SafeTensor same{"x", DataType::kFp32, {2}, AsBytes(data)};
  EXPECT_FALSE(EncodeSafetensors({{}, {same, same}}).ok());
  EXPECT_FALSE(EncodeSafetensors({{{"k", "\xff"}}, {}}).ok());
}

TEST(SafetensorsTest, ReaderTakesWhatOtherWritersMake) {
  const auto file = FileOf(R"({"x":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}}   )", "abcd");
  const auto content = DecodeSafetensors(AsBytes(file));
  ASSERT_TRUE(content.ok()) << content.status().ToString();
  EXPECT_EQ(content->tensors.at(0).dtype, DataType::kInt16);
  EXPECT_TRUE(DecodeSafetensors(AsBytes(FileOf("{}"))).ok());
}

TEST(SafetensorsTest, ReaderRefusesEveryLie) {
  const std::string four = "abcd";
  const std::pair<const char*, std::string> lies[] = {
      {"not JSON", FileOf("{", "")},
      {"not an object", FileOf("[]", "")},
      {"invalid UTF-8", FileOf("{\"\xff\":{}}", "")},
      {"unknown dtype", FileOf(R"({"x":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", four)},
      {"dtype no text", FileOf(R"({"x":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", four)},
      {"negative size", FileOf(R"({"x":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", four)},
      {"real size", FileOf(R"({"x":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}})", four)},
      {"wrong size", FileOf(R"({"x":{"dtype":"U8","shape":[3],"data_offsets":[0,4]}})", four)},
      {"overflow",
       FileOf(R"({"x":{"dtype":"U8","shape":[4294967296,4294967297,4],"data_offsets":[0,4]}})",
              four)},
      {"outside", FileOf(R"({"x":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}})", four)},
      {"backwards", FileOf(R"({"x":{"dtype":"U8","shape":[0],"data_offsets":[4,0]}})", four)},
      {"gap", FileOf(R"({"x":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}})", four)},
      {"overlap",
       FileOf(
           R"({"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
           four)},
      {"left over", FileOf(R"({"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", four)},
      {"extra key", FileOf(R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"z":1}})", four)},
      {"missing key", FileOf(R"({"x":{"dtype":"U8","shape":[4]}})", four)},
      {"twice",
       FileOf(
           R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
           four)},
      {"metadata number", FileOf(R"({"__metadata__":{"a":1}})", "")},
      {"metadata twice", FileOf(R"({"__metadata__":{"a":"1","a":"2"}})", "")},
      {"metadata list", FileOf(R"({"__metadata__":[]})", "")},
      {"deep",
       FileOf(R"({"x":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}", "")},
      {"deep shape",
       FileOf(R"({"x":{"dtype":"U8","shape":[[[[[[4]]]]]],"data_offsets":[0,4]}})", four)},
      {"rank",
       FileOf(
           R"({"x":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4],"data_offsets":[0,4]}})",
           four)},
  };
  for (const auto& [name, file] : lies) {
    EXPECT_EQ(DecodeSafetensors(AsBytes(file)).status().code(), Code::kInvalidArgument) << name;
  }
}

TEST(SafetensorsTest, TruncationAnywhereIsAnError) {
  const std::string data(16, 'x');
  const auto file = EncodeSafetensors({{{"a", "b"}}, {{"x", DataType::kFp64, {2}, AsBytes(data)}}});
  ASSERT_TRUE(file.ok());
  for (size_t size = 0; size < file->size(); ++size) {
    EXPECT_FALSE(DecodeSafetensors(AsBytes(std::string_view(*file).substr(0, size))).ok()) << size;
  }
  EXPECT_FALSE(DecodeSafetensors(AsBytes(*file + "y")).ok());
  std::string huge = *file;
  huge[7] = '\x7f';  // a header of 2^62 bytes
  EXPECT_FALSE(DecodeSafetensors(AsBytes(huge)).ok());
}

}  // namespace
}  // namespace evenkeel
