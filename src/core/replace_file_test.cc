#include "core/replace_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/check.h"

namespace evenkeel {
namespace {

class ReplaceFileTest : public testing::Test {
 protected:
  ReplaceFileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "ek-replace-XXXXXX").string();
    EK_CHECK(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~ReplaceFileTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  static std::string Bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string folder_;
};

TEST_F(ReplaceFileTest, ReplacesWhateverTheSizes) {
  const std::string path = folder_ + "/file";
  for (const size_t size : {size_t{0}, size_t{100'000}, size_t{3}}) {
    const std::string bytes(size, 'x');
    ASSERT_TRUE(ReplaceFile(path, bytes).ok());
    EXPECT_EQ(Bytes(path), bytes);
  }
}

TEST_F(ReplaceFileTest, WritesThroughNoLink) {
  const std::string path = folder_ + "/file";
  const std::string outside = folder_ + "/outside";
  std::ofstream(outside) << "safe";
  ASSERT_EQ(::symlink(outside.c_str(), (path + ".tmp").c_str()), 0);
  EXPECT_EQ(ReplaceFile(path, "x").code(), Code::kUnavailable);
  EXPECT_EQ(Bytes(outside), "safe");
  // A link at the place itself is what is replaced.
  std::filesystem::remove(path + ".tmp");
  ASSERT_EQ(::symlink(outside.c_str(), path.c_str()), 0);
  ASSERT_TRUE(ReplaceFile(path, "x").ok());
  EXPECT_EQ(Bytes(outside), "safe");
  EXPECT_FALSE(std::filesystem::is_symlink(path));
}

}  // namespace
}  // namespace evenkeel
