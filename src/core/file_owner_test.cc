#include "core/file_owner.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

class MakeFoldersTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/folders_XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(MakeFoldersTest, AllThatAreMissingAreMade) {
  EXPECT_TRUE(MakeFolders(folder_ + "/a/b/../c/d/").ok());
  EXPECT_TRUE(std::filesystem::is_directory(folder_ + "/a/c/d"));
  EXPECT_TRUE(MakeFolders(folder_ + "/a/c/d").ok());
  EXPECT_TRUE(MakeFolders("/").ok());
}

TEST_F(MakeFoldersTest, WhereThereIsAFileItIsSaid) {
  std::ofstream(folder_ + "/file") << "x";
  for (const char* path : {"/file", "/file/inner"}) {
    const Status made = MakeFolders(folder_ + path);
    EXPECT_EQ(made.code(), Code::kUnavailable) << path;
    EXPECT_NE(made.message().find(folder_ + path), std::string::npos) << made.message();
    EXPECT_EQ(made.message().find("Success"), std::string::npos) << made.message();
  }
}

TEST_F(MakeFoldersTest, WhatRootMakesBelongsToTheOwnerOfTheFolder) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::chown(folder_.c_str(), 12345, 12346), 0);
  ASSERT_TRUE(MakeFolders(folder_ + "/state/evenkeel").ok());
  for (const char* path : {"/state", "/state/evenkeel"}) {
    struct stat facts {};
    ASSERT_EQ(::stat((folder_ + path).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_uid, 12345U) << path;
    EXPECT_EQ(facts.st_gid, 12346U) << path;
  }
}

}  // namespace
}  // namespace evenkeel
