#include "server/kept_wishes.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/format.h"

namespace evenkeel {
namespace {

class KeptWishesTest : public testing::Test {
 protected:
  KeptWishesTest() { std::filesystem::create_directories(folder_); }
  ~KeptWishesTest() override { std::filesystem::remove_all(folder_); }

  const std::string folder_ = fmt::format(
      "{}/evenkeel_kept_wishes_{}", std::filesystem::temp_directory_path().string(), getpid());
  const std::string path_ = folder_ + "/replicas.json";
};

TEST_F(KeptWishesTest, ARestartForgetsNone) {
  {
    KeptWishes wishes(path_);
    EXPECT_TRUE(wishes.All().empty());
    wishes.Ask("chat", 2);
    wishes.Hear({{"bert", 3, 5}});
  }
  KeptWishes again(path_);
  ASSERT_EQ(again.All().size(), 2);
  EXPECT_EQ(again.All()[0].replicas, 3);
  EXPECT_EQ(again.All()[1].model, "chat");
  EXPECT_GT(again.All()[1].unix_ms, int64_t{1'500'000'000'000});
}

TEST_F(KeptWishesTest, WhatIsNoNewsIsNotWritten) {
  KeptWishes wishes(path_);
  wishes.Hear({{"bert", 3, 5}});
  std::filesystem::remove(path_);
  wishes.Hear({{"bert", 2, 4}, {"bert", 3, 5}});
  EXPECT_FALSE(std::filesystem::exists(path_));
  wishes.Hear({{"bert", 2, 6}});
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(KeptWishesTest, AFileThatIsNoneIsBegunAnew) {
  std::ofstream(path_) << "{\"schema\": 1, \"models\": [";
  KeptWishes wishes(path_);
  EXPECT_TRUE(wishes.All().empty());
  wishes.Ask("chat", 1);
  EXPECT_EQ(KeptWishes(path_).All().size(), 1);
}

TEST_F(KeptWishesTest, WithoutAFileTheyAreKnownWhileItRuns) {
  KeptWishes wishes("");
  wishes.Ask("chat", 1);
  EXPECT_EQ(wishes.All().size(), 1);
}

}  // namespace
}  // namespace evenkeel
