#include "server/state_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/check.h"

namespace evenkeel {
namespace {

class StateLockTest : public testing::Test {
 protected:
  StateLockTest() {
    std::string name = testing::TempDir() + "/state_lock_XXXXXX";
    EK_CHECK(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~StateLockTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(StateLockTest, OneAtATimeHasIt) {
  {
    const auto lock = StateLock::Take(folder_);
    ASSERT_TRUE(lock.ok()) << lock.status().message();
    const auto second = StateLock::Take(folder_);
    EXPECT_EQ(second.status().code(), Code::kConflict);
    EXPECT_THAT(second.status().message(), testing::HasSubstr(std::to_string(::getpid())));
  }
  EXPECT_TRUE(StateLock::Take(folder_).ok());
}

TEST_F(StateLockTest, WhatRootMakesBelongsToTheOwnerOfTheFolder) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::chown(folder_.c_str(), 12345, 12346), 0);
  ASSERT_TRUE(StateLock::Take(folder_).ok());
  struct stat facts {};
  ASSERT_EQ(::stat((folder_ + "/lock").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, 12345U);
  EXPECT_EQ(facts.st_gid, 12346U);
}

TEST_F(StateLockTest, ALinkInItsPlaceIsNotFollowed) {
  const std::string outside = folder_ + "/outside";
  std::ofstream(outside) << "safe";
  std::filesystem::create_symlink(outside, folder_ + "/lock");
  EXPECT_EQ(StateLock::Take(folder_).status().code(), Code::kUnavailable);
  std::ifstream file(outside);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "safe");
}

}  // namespace
}  // namespace evenkeel
