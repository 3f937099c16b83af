#include "core/suggest.h"

#include <gtest/gtest.h>

#include <array>

namespace evenkeel {
namespace {

TEST(SuggestTest, DistanceCountsEditsAndSwaps) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("port", "prot"), 1);
  EXPECT_EQ(EditDistance("load", "unload"), 2);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("sitting", "kitten"), 3);
}

TEST(SuggestTest, FindsTheNearestAndNothingFarAway) {
  const auto verbs = std::to_array<std::string_view>({"serve", "ls", "ps", "show", "samples"});
  EXPECT_EQ(ClosestTo("sevre", verbs), "serve");
  EXPECT_EQ(ClosestTo("sample", verbs), "samples");
  EXPECT_EQ(ClosestTo("sh", verbs), "show");
  EXPECT_EQ(ClosestTo("destroy", verbs), "");
  EXPECT_EQ(ClosestTo("serve", {}), "");
}

}  // namespace
}  // namespace evenkeel
