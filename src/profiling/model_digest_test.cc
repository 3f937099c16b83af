#include "profiling/model_digest.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

class ModelDigestTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "evenkeel-digest-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = fs::path(name) / "m";
    fs::create_directories(folder_);
    Write("model.onnx", "weights");
    Write("evenkeel.yaml", "objective: 20ms");
    model_.name = "m";
    model_.path = (folder_ / "model.onnx").string();
  }
  void TearDown() override { fs::remove_all(folder_.parent_path()); }
  void Write(const char* name, const char* text) { std::ofstream(folder_ / name) << text; }

  fs::path folder_;
  ModelConfig model_;
};

TEST_F(ModelDigestTest, IsOfWhatTheFilesHoldAndNotOfSettings) {
  const std::string digest = *ModelDigest(model_), stamp = *ModelStamp(model_);
  EXPECT_EQ(digest.size(), 16u);
  Write("evenkeel.yaml", "objective: 30ms");
  Write("labels.txt", "a b c");
  EXPECT_EQ(*ModelDigest(model_), digest);
  EXPECT_EQ(*ModelStamp(model_), stamp);
  Write("model.onnx", "others");
  EXPECT_NE(*ModelDigest(model_), digest);
  EXPECT_NE(*ModelStamp(model_), stamp);
}

TEST_F(ModelDigestTest, AnotherToleranceIsAnotherStampAndTheSameDigest) {
  const std::string digest = *ModelDigest(model_), stamp = *ModelStamp(model_);
  model_.tolerance = 0.5;  // means nothing yet
  EXPECT_EQ(*ModelStamp(model_), stamp);
  model_.precision_auto = true;
  const std::string loose = *ModelStamp(model_);
  EXPECT_NE(loose, stamp);
  model_.tolerance = 0.1;
  EXPECT_NE(*ModelStamp(model_), loose);
  EXPECT_EQ(*ModelDigest(model_), digest);
}

TEST_F(ModelDigestTest, FilesThatAreNotThereAreAnError) {
  fs::remove(folder_ / "model.onnx");
  fs::remove(folder_ / "evenkeel.yaml");
  fs::remove(folder_);
  EXPECT_FALSE(ModelDigest(model_).ok());
  EXPECT_FALSE(ModelStamp(model_).ok());
}

}  // namespace
}  // namespace evenkeel
