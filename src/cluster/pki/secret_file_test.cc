#include "cluster/pki/secret_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

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

}  // namespace
}  // namespace evenkeel::pki
