#include "repository/scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "repository/test_folder.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<std::string> NamesOf(const std::vector<FoundModel>& models) {
  std::vector<std::string> names;
  for (const FoundModel& model : models) names.push_back(model.name);
  return names;
}

std::vector<int64_t> VersionsOf(const FoundModel& model) {
  std::vector<int64_t> versions;
  for (const ModelConfig& config : model.versions) versions.push_back(config.version);
  return versions;
}

class ScanTest : public testing::Test {
 protected:
  FoundModel Find(const std::string& name) {
    const Result<FoundModel> found = FindModel(folder_.path(), name);
    EXPECT_TRUE(found.ok()) << found.status().ToString();
    return found.ok() ? *found : FoundModel{};
  }
  FoundModel FindGood(const std::string& name) {
    FoundModel model = Find(name);
    EXPECT_TRUE(model.status.ok()) << model.status.ToString();
    EXPECT_THAT(model.versions, testing::Not(IsEmpty()));
    if (model.versions.empty()) model.versions.emplace_back();
    return model;
  }
  std::string Refusal(const std::string& name) {
    const FoundModel model = Find(name);
    EXPECT_FALSE(model.status.ok()) << name;
    EXPECT_THAT(model.versions, IsEmpty());
    return model.status.ToString();
  }

  TestFolder folder_;
};

TEST_F(ScanTest, BareFilesOfEveryFormatAreModels) {
  for (const char* file : {"a.onnx", "b.xml", "b.bin", "c.tflite", "d.pb", "e.pdmodel",
                           "e.pdiparams", "f.fake", "g.gguf"}) {
    folder_.Write(file, "x");
  }
  EXPECT_THAT(NamesOf(ScanModels(folder_.path())), ElementsAre("a", "b", "c", "d", "e", "f", "g"));
  const ModelConfig a = FindGood("a").versions[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.version, 1);
  EXPECT_EQ(a.engine, "openvino");
  EXPECT_EQ(a.platform, "onnxruntime_onnx");
  EXPECT_EQ(a.path, folder_.path() + "/a.onnx");
  EXPECT_EQ(a.folder, folder_.path());
  EXPECT_EQ(a.source, "");
  EXPECT_EQ(FindGood("f").versions[0].engine, "fake");
  EXPECT_EQ(FindGood("g").versions[0].engine, "llamacpp");
  EXPECT_EQ(FindGood("g").versions[0].platform, "llama_cpp");
}

TEST_F(ScanTest, HiddenAndUnknownEntriesArePassedOver) {
  folder_.Write(".hidden.onnx", "x");
  folder_.Write("README.md", "x");
  folder_.Write("inference.json", "{}");
  folder_.Write(".git/evenkeel.yaml", "");
  folder_.Write("notes/today.txt", "x");
  folder_.MakeFolder("empty");
  EXPECT_THAT(ScanModels(folder_.path()), IsEmpty());
}

TEST_F(ScanTest, FolderWithOneModelFileNeedsNoManifest) {
  folder_.Write("x/whatever.onnx", "x");
  folder_.Write("x/README.md", "x");
  const ModelConfig x = FindGood("x").versions[0];
  EXPECT_EQ(x.path, folder_.path() + "/x/whatever.onnx");
  EXPECT_EQ(x.folder, folder_.path() + "/x");
}

TEST_F(ScanTest, ManifestSetsWhatDiffers) {
  folder_.Write("x/m.onnx", "x");
  folder_.Write("x/evenkeel.yaml", "max_batch: 8\nversion: 3\n");
  const ModelConfig x = FindGood("x").versions[0];
  EXPECT_EQ(x.batching.max_batch, 8);
  EXPECT_EQ(x.version, 3);
  EXPECT_EQ(x.source, folder_.path() + "/x/evenkeel.yaml");
}

TEST_F(ScanTest, ManifestChoosesAmongSeveralFiles) {
  folder_.Write("x/a.onnx", "x");
  folder_.Write("x/sub/b.onnx", "x");
  folder_.Write("x/c.tflite", "x");
  EXPECT_THAT(Refusal("x"), HasSubstr("has 2 model files ('a.onnx', 'c.tflite')"));
  folder_.Write("x/evenkeel.yaml", "file: sub/b.onnx");
  EXPECT_EQ(FindGood("x").versions[0].path, folder_.path() + "/x/sub/b.onnx");
}

TEST_F(ScanTest, LanguageModelsTakeTheirOwnSettings) {
  folder_.Write("chat/model.gguf", "x");
  folder_.Write("chat/evenkeel.yaml", "language: {context: 2048}\nthreads: 2\n");
  const ModelConfig chat = FindGood("chat").versions[0];
  EXPECT_EQ(chat.engine, "llamacpp");
  ASSERT_TRUE(chat.language.has_value());
  EXPECT_EQ(chat.language->context_tokens, 2048);
  folder_.Write("chat/evenkeel.yaml", "threads: 2\nmax_batch: 8\n");
  EXPECT_THAT(Refusal("chat"), HasSubstr("evenkeel.yaml:2:1: max_batch: means nothing for a "
                                         "language model: 'language.sequences' says"));
  folder_.Write("chat/evenkeel.yaml", "engine: openvino\n");
  EXPECT_THAT(Refusal("chat"), HasSubstr("is a GGUF language model, which engine 'openvino' does "
                                         "not read; 'llamacpp' does"));
  folder_.Write("x/m.onnx", "x");
  folder_.Write("x/evenkeel.yaml", "language: {context: 2048}\n");
  EXPECT_THAT(Refusal("x"), HasSubstr("language: has a meaning only for language models"));
}

TEST_F(ScanTest, LanguageModelsMayLieInVersionFolders) {
  folder_.Write("chat/1/model.gguf", "x");
  folder_.Write("chat/2/model.gguf", "x");
  folder_.Write("chat/evenkeel.yaml", "language: {sequences: 4}\n");
  const FoundModel chat = FindGood("chat");
  EXPECT_THAT(VersionsOf(chat), ElementsAre(2));
  EXPECT_EQ(chat.versions[0].engine, "llamacpp");
  ASSERT_TRUE(chat.versions[0].language.has_value());
  EXPECT_EQ(chat.versions[0].language->sequences, 4);
  folder_.Write("chat/config.pbtxt", "backend: \"llama_cpp\"");
  EXPECT_EQ(FindGood("chat").versions[0].platform, "llama_cpp");
  folder_.Write("chat/config.pbtxt", "backend: \"llama_cpp\"\nmax_batch_size: 4");
  EXPECT_THAT(Refusal("chat"), HasSubstr("max_batch_size: means nothing for a language model"));
  folder_.Write("chat/config.pbtxt", R"(
    backend: "llama_cpp"
    input [{name: "x", data_type: TYPE_FP32, dims: [4]}]
    output [{name: "y", data_type: TYPE_FP32, dims: [4]}])");
  EXPECT_THAT(Refusal("chat"),
              HasSubstr("config.pbtxt: input: means nothing for a language model"));
}

TEST_F(ScanTest, ManifestFileMustStayInside) {
  folder_.Write("other.onnx", "x");
  folder_.Write("x/evenkeel.yaml", "# elsewhere\nfile: ../other.onnx");
  EXPECT_THAT(Refusal("x"),
              HasSubstr("/x/evenkeel.yaml:2: file: path '../other.onnx' has '..' in it"));
  folder_.Write("x/evenkeel.yaml", "file: /etc/passwd");
  EXPECT_THAT(Refusal("x"), HasSubstr("is absolute"));
  folder_.Write("x/evenkeel.yaml", "file: none.onnx");
  EXPECT_THAT(Refusal("x"), HasSubstr("does not exist"));
  folder_.Write("x/evenkeel.yaml", "max_batch: 2");
  EXPECT_THAT(Refusal("x"), HasSubstr("has no model file"));
}

TEST_F(ScanTest, EngineMustReadTheFile) {
  folder_.Write("x/a.onnx", "x");
  folder_.Write("x/evenkeel.yaml", "engine: fake");
  EXPECT_THAT(Refusal("x"),
              HasSubstr("is a ONNX model, which engine 'fake' does not read; 'openvino' does"));
}

TEST_F(ScanTest, SavedModelAndPaddleFoldersAreModels) {
  folder_.Write("tf/saved_model.pb", "x");
  folder_.Write("tf/variables/variables.index", "x");
  folder_.Write("paddle/inference.pdmodel", "x");
  folder_.Write("paddle/inference.pdiparams", "x");
  EXPECT_EQ(FindGood("tf").versions[0].path, folder_.path() + "/tf");
  EXPECT_EQ(FindGood("tf").versions[0].platform, "tensorflow_savedmodel");
  EXPECT_EQ(FindGood("paddle").versions[0].path, folder_.path() + "/paddle/inference.pdmodel");
}

TEST_F(ScanTest, OneNameForTwoModelsRefusesBothNamingBoth) {
  folder_.Write("x.onnx", "x");
  folder_.Write("x/evenkeel.yaml", "");
  folder_.Write("y.onnx", "x");
  EXPECT_THAT(Refusal("x"), testing::AllOf(HasSubstr(folder_.path() + "/x'"),
                                           HasSubstr(folder_.path() + "/x.onnx'")));
  EXPECT_THAT(NamesOf(ScanModels(folder_.path())), ElementsAre("x", "y"));
  FindGood("y");
}

TEST_F(ScanTest, OneBrokenModelNeverHidesTheOthers) {
  folder_.Write("a/evenkeel.yaml", "max_batch: lots");
  folder_.Write("a/a.onnx", "x");
  folder_.Write("b.onnx", "x");
  folder_.Write("c/config.pbtxt", "{{{");
  const std::vector<FoundModel> models = ScanModels(folder_.path());
  EXPECT_THAT(NamesOf(models), ElementsAre("a", "b", "c"));
  EXPECT_THAT(
      models[0].status.message(),
      folder_.path() +
          "/a/evenkeel.yaml:1:12: max_batch: expected a whole number from 0 to 65536, got 'lots'");
  EXPECT_TRUE(models[1].status.ok());
  EXPECT_THAT(models[2].status.message(),
              testing::StartsWith(folder_.path() + "/c/config.pbtxt:1:1: "));
}

TEST_F(ScanTest, LinksOutOfTheFolderAreRefused) {
  TestFolder outside;
  outside.Write("secret.onnx", "x");
  outside.Write("model/m.onnx", "x");
  outside.Write("m.yaml", "");
  folder_.Link(outside.path() + "/secret.onnx", "a.onnx");
  folder_.Link(outside.path() + "/model", "b");
  folder_.MakeFolder("c");
  folder_.Link(outside.path() + "/secret.onnx", "c/m.onnx");
  folder_.Write("d/m.onnx", "x");
  folder_.Link(outside.path() + "/m.yaml", "d/evenkeel.yaml");
  folder_.MakeFolder("e");
  folder_.Link(outside.path() + "/model", "e/1");
  folder_.Link(folder_.path() + "/gone.onnx", "f.onnx");
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    EXPECT_FALSE(Find(name).status.ok()) << name;
  }
  EXPECT_THAT(Refusal("a"), HasSubstr("outside"));
  EXPECT_THAT(Refusal("c"), HasSubstr("outside"));
  EXPECT_THAT(Refusal("f"), HasSubstr("does not exist"));
}

TEST_F(ScanTest, LinksInsideTheFolderAreFollowed) {
  folder_.Write("store/shared.txt", "x");
  folder_.Link(folder_.path() + "/store/shared.txt", "a.onnx");
  folder_.MakeFolder("b/1");
  folder_.Link("../../store/shared.txt", "b/1/model.onnx");
  EXPECT_EQ(FindGood("a").versions[0].path, folder_.path() + "/a.onnx");
  EXPECT_EQ(FindGood("b").versions[0].folder, folder_.path());
}

TEST_F(ScanTest, NamesThatNoUrlCouldCarryAreRefusedButListed) {
  folder_.Write("my model.onnx", "x");
  folder_.Write("\xff.onnx", "x");
  folder_.Write(std::string(200, 'a') + ".onnx", "x");
  folder_.Write("-dash.onnx", "x");
  const std::vector<FoundModel> models = ScanModels(folder_.path());
  EXPECT_THAT(models, SizeIs(4));
  for (const FoundModel& model : models)
    EXPECT_THAT(model.status.message(), HasSubstr("cannot be a model's name"));
  EXPECT_EQ(FindModel(folder_.path(), "my model").status().code(), Code::kNotFound);
}

TEST_F(ScanTest, RequestedNamesAreNeverPaths) {
  folder_.Write("a.onnx", "x");
  folder_.Write("x/b.onnx", "x");
  for (const char* name : {"../a", "./a", "a.onnx", "x/b", "", ".", "..", "/a"}) {
    EXPECT_EQ(FindModel(folder_.path(), name).status().code(), Code::kNotFound) << name;
  }
}

TEST_F(ScanTest, MissingFolderHasNoModels) {
  EXPECT_THAT(ScanModels(folder_.path() + "/none"), IsEmpty());
  EXPECT_EQ(CheckModelsFolder(folder_.path() + "/none").code(), Code::kNotFound);
  EXPECT_TRUE(CheckModelsFolder(folder_.path()).ok());
  folder_.Write("file", "x");
  EXPECT_EQ(CheckModelsFolder(folder_.path() + "/file").code(), Code::kInvalidArgument);
}

TEST_F(ScanTest, ModelsFolderMayItselfBeALink) {
  folder_.Write("real/a.onnx", "x");
  folder_.Link(folder_.path() + "/real", "link");
  EXPECT_THAT(NamesOf(ScanModels(folder_.path() + "/link")), ElementsAre("a"));
}

TEST_F(ScanTest, TritonRepositoryLoadsUnchanged) {
  folder_.Write(
      "t/config.pbtxt",
      "name: \"t\" platform: \"onnxruntime_onnx\" max_batch_size: 16\n"
      "input [{ name: \"x\" data_type: TYPE_FP32 dims: [64] }]\n"
      "output [{ name: \"y\" data_type: TYPE_FP32 dims: [10] label_filename: \"labels.txt\" }]\n"
      "dynamic_batching { max_queue_delay_microseconds: 500 }\n"
      "instance_group [{ count: 2 kind: KIND_CPU }]\n");
  folder_.Write("t/labels.txt", "zero\none\n");
  for (const char* file :
       {"t/1/model.onnx", "t/2/model.onnx", "t/10/model.onnx", "t/01/model.onnx"})
    folder_.Write(file, "x");
  const FoundModel t = FindGood("t");
  EXPECT_THAT(VersionsOf(t), ElementsAre(10));
  const ModelConfig& config = t.versions[0];
  EXPECT_EQ(config.path, folder_.path() + "/t/10/model.onnx");
  EXPECT_EQ(config.folder, folder_.path() + "/t");
  EXPECT_EQ(config.batching.policy, BatchingPolicy::kFixed);
  EXPECT_EQ(config.batching.max_batch, 16);
  EXPECT_EQ(config.instances, 2);
  EXPECT_THAT(config.outputs[0].labels, ElementsAre("zero", "one"));
}

TEST_F(ScanTest, VersionPolicyChooses) {
  for (const char* file : {"t/1/model.onnx", "t/2/model.onnx", "t/3/model.onnx"})
    folder_.Write(file, "x");
  EXPECT_THAT(VersionsOf(FindGood("t")), ElementsAre(3));
  folder_.Write("t/config.pbtxt", "version_policy { all {} }");
  EXPECT_THAT(VersionsOf(FindGood("t")), ElementsAre(1, 2, 3));
  folder_.Write("t/config.pbtxt", "version_policy { latest { num_versions: 2 } }");
  EXPECT_THAT(VersionsOf(FindGood("t")), ElementsAre(2, 3));
  folder_.Write("t/config.pbtxt", "version_policy { latest { num_versions: 9 } }");
  EXPECT_THAT(VersionsOf(FindGood("t")), ElementsAre(1, 2, 3));
  folder_.Write("t/config.pbtxt", "version_policy { specific { versions: [3, 1, 7] } }");
  EXPECT_THAT(VersionsOf(FindGood("t")), ElementsAre(1, 3));
  folder_.Write("t/config.pbtxt", "version_policy { specific { versions: [7] } }");
  EXPECT_THAT(Refusal("t"), HasSubstr("none of the versions"));
}

TEST_F(ScanTest, TritonFolderNeedsAVersionWithAModel) {
  folder_.Write("t/config.pbtxt", "name: \"t\"");
  EXPECT_THAT(Refusal("t"), HasSubstr("has no version folders"));
  folder_.Write("t/1/weights.bin", "x");
  EXPECT_THAT(Refusal("t"), HasSubstr("expected one of model.onnx, model.xml"));
  folder_.Write("t/config.pbtxt", "backend: \"onnxruntime\"");
  EXPECT_THAT(Refusal("t"), HasSubstr("/t/1' has no model file: expected model.onnx"));
}

TEST_F(ScanTest, TritonFindsEachFormatsFile) {
  folder_.Write("ir/1/model.xml", "x");
  folder_.Write("tf/1/model.savedmodel/saved_model.pb", "x");
  folder_.Write("graph/1/model.graphdef", "x");
  folder_.Write("pd/1/model.pdmodel", "x");
  folder_.Write("big/1/model.onnx/model.onnx", "x");
  folder_.Write("named/1/net.onnx", "x");
  folder_.Write("named/config.pbtxt", "default_model_filename: \"net.onnx\" backend: \"openvino\"");
  EXPECT_EQ(FindGood("ir").versions[0].platform, "openvino");
  EXPECT_EQ(FindGood("tf").versions[0].path, folder_.path() + "/tf/1/model.savedmodel");
  EXPECT_EQ(FindGood("graph").versions[0].platform, "tensorflow_graphdef");
  EXPECT_EQ(FindGood("pd").versions[0].platform, "paddle");
  EXPECT_EQ(FindGood("big").versions[0].path, folder_.path() + "/big/1/model.onnx/model.onnx");
  EXPECT_EQ(FindGood("named").versions[0].path, folder_.path() + "/named/1/net.onnx");
  EXPECT_EQ(FindGood("named").versions[0].platform, "openvino");
  folder_.Write("named/config.pbtxt", "default_model_filename: \"../net.onnx\"");
  EXPECT_THAT(Refusal("named"),
              HasSubstr("config.pbtxt:1:1: default_model_filename: expected a plain file name"));
}

TEST_F(ScanTest, ManifestAddsToATritonConfiguration) {
  folder_.Write("t/1/model.onnx", "x");
  folder_.Write("t/config.pbtxt",
                "max_batch_size: 8 input [{ name: \"ids\" data_type: TYPE_INT64 dims: [4] }]");
  folder_.Write("t/evenkeel.yaml", "objective: 20ms\ninputs: [{name: ids, range: [0, 99]}]\n");
  const ModelConfig config = FindGood("t").versions[0];
  EXPECT_EQ(config.batching.max_batch, 8);
  EXPECT_EQ(config.objective, std::chrono::milliseconds(20));
  EXPECT_EQ(config.inputs[0].dtype, DataType::kInt64);
  EXPECT_EQ(config.inputs[0].range->hi, 99);
  folder_.Write("t/evenkeel.yaml", "version: 2");
  EXPECT_THAT(Refusal("t"), HasSubstr("cannot be given"));
}

}  // namespace
}  // namespace evenkeel
