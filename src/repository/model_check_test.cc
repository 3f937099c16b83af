#include "repository/model_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "repository/ir_check.h"
#include "repository/onnx_bytes.h"
#include "repository/test_folder.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

class ModelCheckTest : public testing::Test {
 protected:
  Status Check(const std::string& file) {
    ModelConfig config;
    config.path = folder_.path() + "/" + file;
    config.folder = folder_.path();
    return CheckModelFile(config);
  }
  void ExpectGood(const std::string& file) {
    const Status status = Check(file);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  TestFolder folder_;
};

TEST_F(ModelCheckTest, IrNeedsItsWeights) {
  folder_.Write("m.xml",
                "<?xml version=\"1.0\"?>\n<net name=\"m\" version=\"11\"><layers/></net>\n");
  EXPECT_EQ(Check("m.xml").message(), "'" + folder_.path() + "/m.bin' does not exist");
  folder_.Write("m.bin", "");
  ExpectGood("m.xml");
  TestFolder outside;
  outside.Write("w.bin", "x");
  folder_.Write("n.xml", "<net></net>");
  folder_.Link(outside.path() + "/w.bin", "n.bin");
  EXPECT_THAT(Check("n.xml").message(), HasSubstr("outside"));
}

TEST_F(ModelCheckTest, IrXmlIsReadStrictly) {
  EXPECT_TRUE(
      CheckIrText("\xef\xbb\xbf<net a=\"/>\" b='>'><!-- <x> --><l/><![CDATA[<]]></net> \n").ok());
  EXPECT_THAT(CheckIrText("<!DOCTYPE net SYSTEM \"file:///etc/passwd\"><net/>").message(),
              HasSubstr("document types"));
  EXPECT_THAT(CheckIrText("<net><!ENTITY a \"b\"></net>").message(), HasSubstr("document types"));
  EXPECT_THAT(CheckIrText("<html></html>").message(),
              HasSubstr("expected <net>, got '<html></html>'"));
  EXPECT_THAT(CheckIrText("<network/>").message(), HasSubstr("expected <net>"));
  EXPECT_THAT(CheckIrText("PK\x03\x04").message(), HasSubstr("text outside <net>"));
  EXPECT_THAT(CheckIrText(std::string("<net>\0</net>", 12)).message(), HasSubstr("NUL byte"));
  EXPECT_THAT(CheckIrText("<net><a></net>").message(), HasSubstr("cut off"));
  EXPECT_THAT(CheckIrText("<net>").message(), HasSubstr("cut off"));
  EXPECT_THAT(CheckIrText("<net a=\"b").message(), HasSubstr("cut off inside an element"));
  EXPECT_THAT(CheckIrText("<net></net></net>").message(), HasSubstr("that did not begin"));
  EXPECT_THAT(CheckIrText("<net></net><net></net>").message(), HasSubstr("second root"));
  std::string deep = "<net>";
  for (int i = 0; i < 300; ++i) deep += "<a>";
  EXPECT_THAT(CheckIrText(deep).message(), HasSubstr("nested more than 256 deep"));
}

TEST_F(ModelCheckTest, TfliteHasItsMarkAndARootInRange) {
  const auto file = [](uint8_t root, uint8_t back, uint8_t length) {
    std::string bytes(64, '\0');
    bytes[0] = static_cast<char>(root);
    bytes.replace(4, 4, "TFL3");
    if (root < 60) bytes[root] = static_cast<char>(back);
    if (root >= back && root - back < 62)
      bytes[static_cast<size_t>(root - back)] = static_cast<char>(length);
    return bytes;
  };
  folder_.Write("m.tflite", file(24, 12, 8));
  ExpectGood("m.tflite");
  folder_.Write("m.tflite", std::string(64, 'x'));
  EXPECT_THAT(Check("m.tflite").message(), HasSubstr("'TFL3' is missing"));
  folder_.Write("m.tflite", "TFL3");
  EXPECT_THAT(Check("m.tflite").message(), HasSubstr("'TFL3' is missing"));
  folder_.Write("m.tflite", file(62, 12, 8));
  EXPECT_THAT(Check("m.tflite").message(), HasSubstr("the root table is at 62 of 64"));
  folder_.Write("m.tflite", file(24, 30, 8));
  EXPECT_THAT(Check("m.tflite").message(), HasSubstr("fields are at -6 of 64"));
  folder_.Write("m.tflite", file(24, 12, 7));
  EXPECT_THAT(Check("m.tflite").message(), HasSubstr("have a length of 7"));
}

TEST_F(ModelCheckTest, TensorFlowAndPaddleMessagesAreWhole) {
  const std::string content = BytesField(1, BytesField(1, "node"));
  folder_.Write("g.pb", content + BytesField(4, NumberField(1, 1)));
  ExpectGood("g.pb");
  folder_.Write("g.pb", content.substr(0, content.size() - 1));
  EXPECT_THAT(Check("g.pb").message(), HasSubstr("corrupt or truncated"));
  folder_.Write("g.pb", NumberField(3, 1));
  EXPECT_THAT(Check("g.pb").message(), HasSubstr("no TensorFlow graph: it is without content"));
  folder_.Write("g.pb", content + NumberField(99, 1));
  EXPECT_THAT(Check("g.pb").message(), HasSubstr("it has a field 99"));
  folder_.Write("p.pdmodel", content);
  EXPECT_THAT(Check("p.pdmodel").message(), HasSubstr("p.pdiparams' does not exist"));
  folder_.Write("p.pdiparams", "x");
  ExpectGood("p.pdmodel");
}

TEST_F(ModelCheckTest, SavedModelsKeepToThemselves) {
  folder_.Write("s/saved_model.pb", NumberField(1, 1) + BytesField(2, NumberField(1, 1)));
  folder_.Write("s/variables/variables.index", "x");
  ExpectGood("s");
  TestFolder outside;
  outside.Write("secret", "x");
  folder_.Link(outside.path() + "/secret", "s/variables/variables.data-00000-of-00001");
  EXPECT_THAT(Check("s").message(), HasSubstr("outside"));
  folder_.Write("t/saved_model.pb", NumberField(1, 1));
  EXPECT_THAT(Check("t").message(), HasSubstr("no TensorFlow saved model"));
}

TEST_F(ModelCheckTest, OnlyRegularFilesInsideTheFolder) {
  ASSERT_EQ(::mkfifo((folder_.path() + "/m.onnx").c_str(), 0600), 0);
  EXPECT_FALSE(Check("m.onnx").ok());
  EXPECT_EQ(Check("none.onnx").code(), Code::kNotFound);
  folder_.Write("m.fake", "outputs: 1\n");
  ExpectGood("m.fake");
  folder_.Write("m.fake", std::string((1 << 20) + 1, ' '));
  EXPECT_EQ(Check("m.fake").code(), Code::kTooLarge);
  TestFolder outside;
  outside.Write("m.onnx", Model(Graph()));
  folder_.Link(outside.path() + "/m.onnx", "l.onnx");
  EXPECT_THAT(Check("l.onnx").message(), HasSubstr("outside"));
}

}  // namespace
}  // namespace evenkeel
