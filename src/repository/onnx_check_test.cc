#include "repository/onnx_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "repository/model_check.h"
#include "repository/onnx_bytes.h"
#include "repository/test_folder.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

void ExpectGood(const std::string& model) {
  const Status status = CheckOnnxBytes(model);
  EXPECT_TRUE(status.ok()) << status.ToString();
}

std::string Bad(const std::string& model, Code code = Code::kInvalidArgument) {
  const Status status = CheckOnnxBytes(model);
  EXPECT_EQ(status.code(), code) << status.ToString();
  return status.message();
}

std::string Raw(size_t bytes) { return BytesField(9, std::string(bytes, '\1')); }
std::string Packed(int field, size_t bytes) { return BytesField(field, std::string(bytes, '\1')); }

TEST(OnnxCheckTest, WholeModelsPass) {
  ExpectGood(Model(Graph()));
  ExpectGood(ModelWithTensor(TensorHead("w", kOnnxFloat, {2, 3}) + Raw(24)));
  ExpectGood(ModelWithTensor(TensorHead("w", kOnnxFloat, {2, 3}) + Packed(4, 24)));
  ExpectGood(ModelWithTensor(TensorHead("w", kOnnxFloat, {0, 3})));
  ExpectGood(ModelWithTensor(TensorHead("w", kOnnxFloat, {0}) + Raw(0)));
  ExpectGood(ModelWithTensor(TensorHead("scalar", kOnnxInt64, {}) + NumberField(7, 5)));
  ExpectGood(ModelWithTensor(TensorHead("ids", kOnnxInt64, {3}) + Packed(7, 3)));
  ExpectGood(ModelWithTensor(TensorHead("ids", kOnnxInt64, {3}) + Packed(7, 30)));
  ExpectGood(
      ModelWithTensor(TensorHead("s", kOnnxString, {2}) + BytesField(6, "a") + BytesField(6, "b")));
  ExpectGood(ModelWithTensor(TensorHead("int4", 22, {3}) + Raw(2)));
  ExpectGood(ModelWithTensor(TensorHead("half", 10, {3}) + Packed(5, 6)));
  ExpectGood(ModelWithTensor(TensorHead("complex", 14, {3}) + Packed(4, 24)));
  const std::string dims = BytesField(1, Varint(2) + Varint(3));  // packed, as proto3 writers do
  ExpectGood(ModelWithTensor(dims + NumberField(2, kOnnxFloat) + Raw(24)));
  ExpectGood(Model(Graph()) + BytesField(14, BytesField(1, "key") + BytesField(2, "value")) +
             NumberField(99, 1));
}

TEST(OnnxCheckTest, EveryTruncationIsRefused) {
  const std::string graph = Graph(BytesField(5, TensorHead("w", kOnnxFloat, {2, 3}) + Raw(24)));
  const std::string model = NumberField(1, 8) + BytesField(7, graph);
  ExpectGood(model);
  for (size_t size = 0; size < model.size(); ++size)
    EXPECT_FALSE(CheckOnnxBytes(model.substr(0, size)).ok()) << size;
}

TEST(OnnxCheckTest, OtherFilesAreRefused) {
  EXPECT_THAT(Bad(""), HasSubstr("empty"));
  EXPECT_THAT(Bad("hello, I am a text file\n"), HasSubstr("corrupt or truncated"));
  EXPECT_THAT(Bad(std::string(1000, '\0')),
              HasSubstr("corrupt or truncated: no field has this number"));
  EXPECT_THAT(Bad(NumberField(1, 8)), HasSubstr("there is no graph"));
  EXPECT_THAT(Bad(NumberField(7, 8)), HasSubstr("field 7 is no message"));
  EXPECT_THAT(Bad(BytesField(7, Graph()) + BytesField(7, Graph())),
              HasSubstr("field 7 is there twice"));
  EXPECT_THAT(Bad(std::string(11, '\xff')), HasSubstr("a number is too long"));
  EXPECT_THAT(Bad("\x0b"), HasSubstr("no field has this type"));
}

TEST(OnnxCheckTest, GraphMustHaveInputsOutputsAndNodes) {
  const std::string node = BytesField(1, Node());
  const std::string input = BytesField(11, ValueInfo("x"));
  const std::string output = BytesField(12, ValueInfo("y"));
  EXPECT_THAT(Bad(Model(input + output)), HasSubstr("no nodes"));
  EXPECT_THAT(Bad(Model(node + output)), HasSubstr("no inputs"));
  EXPECT_THAT(Bad(Model(node + input)), HasSubstr("no outputs"));
  EXPECT_THAT(Bad(Model("")), HasSubstr("no nodes"));
  ExpectGood(Model(node + BytesField(11, ValueInfo("x", 8)) + output));
  EXPECT_THAT(Bad(Model(node + BytesField(11, ValueInfo("x", 9)) + output), Code::kUnsupported),
              HasSubstr("'x' has 9 axes; at most 8"));
}

TEST(OnnxCheckTest, DataMustBeAsLongAsTheDimensionsSay) {
  EXPECT_EQ(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {2, 3}) + Raw(23))),
            "tensor 'w' (FLOAT [2,3]): needs 24 bytes, raw_data has 23");
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {2, 3}) + Raw(25))),
              HasSubstr("raw_data has 25"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {2, 3}))),
              HasSubstr("needs 6 entries of data, has 0"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {2, 3}) + Packed(4, 20))),
              HasSubstr("has 5"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {2, 3}) + Packed(7, 20))),
              HasSubstr("has 0"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("i", kOnnxInt64, {4}) + Packed(7, 3))),
              HasSubstr("has at most 3"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("i", kOnnxInt64, {4}) + Packed(7, 41))),
              HasSubstr("needs 4 entries"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("s", kOnnxString, {2}) + BytesField(6, "a"))),
              HasSubstr("needs 2"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("s", kOnnxString, {2}) + Raw(2))),
              HasSubstr("raw_data of STRING"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {1}) + Raw(4) + Packed(4, 4))),
              HasSubstr("raw_data and typed"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {1}) + Raw(4) + Raw(4))),
              HasSubstr("two raw_data"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", 99, {1}) + Raw(4))),
              HasSubstr("element type 99 is not known"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", 0, {1}) + Raw(4))), HasSubstr("element type 0"));
}

TEST(OnnxCheckTest, HostileDimensionsAreRefused) {
  const int64_t big = int64_t{1} << 32;
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {big, big}) + Raw(0))),
              HasSubstr("overflows"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {0, big, big}) + Raw(0))),
              HasSubstr("overflows"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {int64_t{1} << 62}) + Raw(0))),
              HasSubstr("overflows"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {int64_t{1} << 50}) + Raw(16))),
              HasSubstr("raw_data has 16"));
  EXPECT_THAT(Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, {-1}) + Raw(4))),
              HasSubstr("is negative"));
  EXPECT_THAT(
      Bad(ModelWithTensor(TensorHead("w", kOnnxFloat, std::vector<int64_t>(65, 1)) + Raw(4))),
      HasSubstr("more than 64 dimensions"));
}

TEST(OnnxCheckTest, TensorsInAttributesAndSubgraphsAreCheckedToo) {
  const std::string bad = TensorHead("deep", kOnnxFloat, {9}) + Raw(4);
  const std::string in_attribute = BytesField(5, BytesField(1, "value") + BytesField(5, bad));
  EXPECT_THAT(Bad(Model(Graph(BytesField(1, Node(in_attribute))))), HasSubstr("'deep'"));
  const std::string subgraph = BytesField(5, BytesField(6, BytesField(5, bad)));
  EXPECT_THAT(Bad(Model(Graph(BytesField(1, Node(subgraph))))), HasSubstr("'deep'"));
  const std::string sparse = BytesField(15, BytesField(1, bad));
  EXPECT_THAT(Bad(Model(Graph(sparse))), HasSubstr("'deep'"));
  EXPECT_THAT(Bad(Model(Graph()) + BytesField(25, BytesField(7, Node(in_attribute)))),
              HasSubstr("'deep'"));
  const std::string twice =
      BytesField(5, BytesField(5, TensorHead("a", kOnnxFloat, {0})) + BytesField(5, bad));
  EXPECT_THAT(Bad(Model(Graph(BytesField(1, Node(twice))))), HasSubstr("field 5 is there twice"));
}

TEST(OnnxCheckTest, NestingIsCapped) {
  const auto nested = [](int levels) {
    std::string node = Node();
    for (int i = 0; i < levels; ++i) node = Node(BytesField(5, BytesField(6, BytesField(1, node))));
    return Model(Graph(BytesField(1, node)));
  };
  ExpectGood(nested(20));
  EXPECT_THAT(Bad(nested(40)), HasSubstr("nested more than 96 deep"));
  EXPECT_THAT(Bad(nested(2'000)), HasSubstr("nested more than 96 deep"));
}

TEST(OnnxCheckTest, CountsAreCapped) {
  std::string nodes;
  for (int i = 0; i < (1 << 23) + 1; ++i) nodes += std::string_view("\x0a\x00", 2);
  EXPECT_THAT(Bad(Model(nodes), Code::kTooLarge), HasSubstr("more than 8388608 messages"));
}

class OnnxFileTest : public testing::Test {
 protected:
  Status Check(const std::string& model) {
    ModelConfig config;
    config.path = folder_.Write("x/sub/m.onnx", model);
    config.folder = folder_.path() + "/x";
    return CheckModelFile(config);
  }
  Status CheckExternal(const std::string& location, const std::string& offset = "",
                       const std::string& length = "") {
    std::string tensor =
        TensorHead("w", kOnnxFloat, {4}) + NumberField(14, 1) + ExternalEntry("location", location);
    if (!offset.empty()) tensor += ExternalEntry("offset", offset);
    if (!length.empty()) tensor += ExternalEntry("length", length);
    return Check(ModelWithTensor(tensor));
  }
  TestFolder folder_;
};

TEST_F(OnnxFileTest, ErrorsStartWithThePath) {
  EXPECT_TRUE(Check(Model(Graph())).ok());
  EXPECT_EQ(Check(Model("")).message(),
            "'" + folder_.path() + "/x/sub/m.onnx': the graph has no nodes");
  EXPECT_EQ(Check("").message(), "'" + folder_.path() + "/x/sub/m.onnx' is empty");
}

TEST_F(OnnxFileTest, WeightsLargerThanTheWindowAreSkipped) {
  const size_t bytes = size_t{5} << 20;
  const std::string tensor =
      TensorHead("w", kOnnxFloat, {static_cast<int64_t>(bytes / 4)}) + Raw(bytes);
  EXPECT_TRUE(Check(ModelWithTensor(tensor)).ok());
  EXPECT_FALSE(Check(ModelWithTensor(tensor).substr(0, bytes)).ok());
}

TEST_F(OnnxFileTest, ExternalDataMustBeThereAndLongEnough) {
  folder_.Write("x/sub/w.bin", std::string(32, 'x'));
  EXPECT_TRUE(CheckExternal("w.bin").ok());
  EXPECT_TRUE(CheckExternal("./w.bin", "16", "16").ok());
  EXPECT_THAT(CheckExternal("w.bin", "17", "16").message(),
              HasSubstr("needs 16 bytes from 17 on, external data 'w.bin' has 32"));
  EXPECT_THAT(CheckExternal("w.bin", "33").message(), HasSubstr("has 32 bytes, the offset is 33"));
  EXPECT_THAT(CheckExternal("w.bin", "0", "12").message(), HasSubstr("length is 12"));
  EXPECT_THAT(CheckExternal("w.bin", "-1").message(),
              HasSubstr("external data's offset: expected a number from 0"));
  EXPECT_THAT(CheckExternal("w.bin", "9223372036854775807", "16").message(),
              HasSubstr("the offset is"));
  EXPECT_THAT(CheckExternal("w.bin", "99999999999999999999").message(),
              HasSubstr("external data's offset"));
  EXPECT_THAT(CheckExternal("none.bin").message(), HasSubstr("does not exist"));
  EXPECT_THAT(CheckExternal("").message(), HasSubstr("without a location"));
  EXPECT_THAT(CheckExternal(".").message(), HasSubstr("is not a regular file"));
}

TEST_F(OnnxFileTest, ExternalDataStaysInTheModelsFolder) {
  folder_.Write("secret.bin", std::string(32, 'x'));
  folder_.Write("x/shared.bin", std::string(32, 'x'));
  folder_.MakeFolder("x/sub");
  folder_.Link(folder_.path() + "/secret.bin", "x/sub/out.bin");
  folder_.Link("../shared.bin", "x/sub/in.bin");
  folder_.Link("..", "x/sub/up");
  EXPECT_THAT(CheckExternal("/etc/passwd").message(), HasSubstr("is absolute"));
  EXPECT_THAT(CheckExternal("../../secret.bin").message(), HasSubstr("has '..' in it"));
  EXPECT_THAT(CheckExternal("a/../../../secret.bin").message(), HasSubstr("has '..' in it"));
  EXPECT_THAT(CheckExternal("..\\secret.bin").message(), HasSubstr("backslash"));
  EXPECT_THAT(CheckExternal(std::string("w\0.bin", 6)).message(), HasSubstr("control character"));
  EXPECT_THAT(CheckExternal("w\xae.bin").message(), HasSubstr("path 'w\\xae.bin' is not UTF-8"));
  EXPECT_THAT(CheckExternal("out.bin").message(), HasSubstr("outside"));
  EXPECT_TRUE(CheckExternal("in.bin").ok());
  EXPECT_TRUE(CheckExternal("up/shared.bin").ok());
  EXPECT_THAT(CheckExternal(std::string(5000, 'a')).message(), HasSubstr("over 4096 bytes"));
}

TEST_F(OnnxFileTest, ExternalDataCannotBeMixedOrRepeated) {
  folder_.Write("x/sub/w.bin", std::string(32, 'x'));
  const std::string external = NumberField(14, 1) + ExternalEntry("location", "w.bin");
  EXPECT_THAT(
      Check(ModelWithTensor(TensorHead("w", kOnnxFloat, {4}) + external + Raw(16))).message(),
      HasSubstr("raw_data and external data"));
  EXPECT_THAT(Check(ModelWithTensor(TensorHead("w", kOnnxFloat, {4}) + external +
                                    ExternalEntry("location", "v.bin")))
                  .message(),
              HasSubstr("'location' given twice"));
  EXPECT_THAT(Check(ModelWithTensor(TensorHead("w", kOnnxString, {4}) + external)).message(),
              HasSubstr("no fixed size"));
}

}  // namespace
}  // namespace evenkeel
