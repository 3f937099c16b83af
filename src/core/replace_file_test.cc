#include "core/replace_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
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

TEST_F(ReplaceFileTest, WhatRootWritesBelongsToTheOwnerOfTheFolder) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string path = folder_ + "/file";
  std::ofstream(path) << "root's";
  ASSERT_EQ(::chown(folder_.c_str(), 12345, 12346), 0);
  ASSERT_TRUE(ReplaceFile(path, "x").ok());
  struct stat facts {};
  ASSERT_EQ(::stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, 12345U);
  EXPECT_EQ(facts.st_gid, 12346U);
}

// The folder's owner may give the file that is to be written beside a second name, elsewhere.
TEST_F(ReplaceFileTest, ASecondNameOfRootsFileIsNotGivenAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string folder = folder_ + "/theirs", path = folder + "/file";
  std::filesystem::create_directory(folder);
  ASSERT_EQ(::chown(folder.c_str(), 12345, 12346), 0);
  const std::string mine = folder_ + "/mine";
  std::ofstream(mine) << "root's";
  std::filesystem::create_hard_link(mine, path + ".tmp");
  ASSERT_TRUE(ReplaceFile(path, "x").ok());
  struct stat facts {};
  ASSERT_EQ(::stat(mine.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, 0U);
}

}  // namespace
}  // namespace evenkeel
