#include "cluster/pki/secret_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "cluster/pki/pki_test_kit.h"

namespace evenkeel::pki {
namespace {

TEST(SecretFileTest, IsReplacedWholeAndLeavesNothingBeside) {
  const TestFolder folder;
  const std::string path = folder.path + "/secret";
  ASSERT_TRUE(WriteSecretFile(path, "one").ok());
  EXPECT_EQ(Must(ReadSecretFile(path)), "one");
  ASSERT_TRUE(WriteSecretFile(path, std::string(10'000, 'x')).ok());
  EXPECT_EQ(Must(ReadSecretFile(path)).size(), 10'000U);
  struct stat facts {};
  ASSERT_EQ(::stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0600U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path), {}), 1);
}

TEST(SecretFileTest, EachErrorHasItsCode) {
  const TestFolder folder;
  const std::string path = folder.path + "/secret";
  EXPECT_EQ(ReadSecretFile(path).status().code(), Code::kNotFound);
  EXPECT_EQ(WriteSecretFile(folder.path + "/none/secret", "x").code(), Code::kUnavailable);
  ASSERT_TRUE(WriteSecretFile(path, "12345").ok());
  EXPECT_EQ(ReadSecretFile(path, 4).status().code(), Code::kTooLarge);
  EXPECT_TRUE(ReadSecretFile(path, 5).ok());
  std::filesystem::create_symlink(path, folder.path + "/link");
  EXPECT_EQ(ReadSecretFile(folder.path + "/link").status().code(), Code::kUnavailable);
  for (const mode_t mode : {0604U, 0640U, 0660U, 0601U}) {
    ::chmod(path.c_str(), mode);
    EXPECT_EQ(ReadSecretFile(path).status().code(), Code::kPermissionDenied) << mode;
  }
  EXPECT_EQ(ReadSecretFile(folder.path).status().code(), Code::kInvalidArgument);
}

TEST(SecretFileTest, FoldersAreTheOwnersAlone) {
  const TestFolder folder;
  const std::string path = folder.path + "/a/b";
  ASSERT_TRUE(MakeSecretFolder(path).ok());
  ASSERT_TRUE(MakeSecretFolder(path).ok());
  struct stat facts {};
  ASSERT_EQ(::stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700U);
}

TEST(SecretFileTest, WhatRootMakesBelongsToTheOwnerOfTheFolder) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const TestFolder folder;
  ASSERT_EQ(::chown(folder.path.c_str(), 12345, 12346), 0);
  const std::string inner = folder.path + "/inner";
  ASSERT_TRUE(MakeSecretFolder(inner).ok());
  ASSERT_TRUE(WriteSecretFile(inner + "/secret", "x").ok());
  for (const std::string& path : {inner, inner + "/secret"}) {
    struct stat facts {};
    ASSERT_EQ(::stat(path.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_uid, 12345U) << path;
    EXPECT_EQ(facts.st_gid, 12346U) << path;
  }
}

// A process that has ended.
pid_t GoneProcess() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST(SecretFileTest, WhatProcessesThatAreGoneLeftIsRemovedByTheNextWrite) {
  const TestFolder folder;
  const auto leave = [&](const std::string& name, int seconds_ago) {
    const std::string path = folder.path + "/" + name;
    std::ofstream(path) << "half a secr";
    timespec times[2]{};
    times[1].tv_sec = WallNow().time_since_epoch().count() - seconds_ago;
    times[0] = times[1];
    EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  };
  const auto there = [&](const std::string& name) {
    return std::filesystem::exists(folder.path + "/" + name);
  };
  const std::string gone = std::to_string(GoneProcess()), own = std::to_string(::getpid());
  const std::string parent = std::to_string(::getppid());
  leave("secret." + gone + ".0.tmp", 3600);
  leave("other." + gone + ".17.tmp", 3600);
  leave("secret." + own + ".999999.tmp", 3600);  // the same number, at an earlier start
  const std::vector<std::string> stay = {"secret." + gone + ".1.tmp",    // a moment ago
                                         "secret." + parent + ".0.tmp",  // it lives
                                         "secret." + gone + ".tmp",       "secret.x.0.tmp",
                                         "secret." + gone + ".0.tmp.old", "." + gone + ".0.tmp"};
  leave(stay[0], 0);
  for (size_t i = 1; i < stay.size(); ++i) leave(stay[i], 3600);
  ASSERT_TRUE(WriteSecretFile(folder.path + "/secret", "whole").ok());
  EXPECT_FALSE(there("secret." + gone + ".0.tmp"));
  EXPECT_FALSE(there("other." + gone + ".17.tmp"));
  EXPECT_FALSE(there("secret." + own + ".999999.tmp"));
  for (const std::string& name : stay) EXPECT_TRUE(there(name)) << name;
  EXPECT_EQ(Must(ReadSecretFile(folder.path + "/secret")), "whole");
}

}  // namespace
}  // namespace evenkeel::pki
