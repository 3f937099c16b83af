#include "cluster/policy/mass_loss.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart{1000s};

// `size` nodes "0", "1", ...; those in `away` are away.
std::vector<NodePresence> Nodes(int size, const std::vector<int>& away) {
  std::vector<NodePresence> nodes;
  for (int i = 0; i < size; ++i)
    nodes.push_back({std::to_string(i), std::find(away.begin(), away.end(), i) == away.end()});
  return nodes;
}

TEST(MassLossTest, MoreThanHalfAndAtLeastTwoFreeze) {
  struct Case {
    int size;
    std::vector<int> away;
    bool frozen;
  };
  for (const Case& c :
       {Case{2, {1}, false}, Case{3, {1}, false}, Case{3, {1, 2}, true}, Case{4, {1, 2}, false},
        Case{4, {1, 2, 3}, true}, Case{5, {1, 2}, false}, Case{5, {0, 1, 2}, true}}) {
    MassLoss loss;
    loss.Observe(Nodes(c.size, {}), kStart);
    EXPECT_FALSE(loss.frozen());
    loss.Observe(Nodes(c.size, c.away), kStart + 1s);
    EXPECT_EQ(loss.frozen(), c.frozen) << c.size << " nodes, " << c.away.size() << " away";
  }
}

TEST(MassLossTest, SaysWhoWent) {
  MassLoss loss;
  loss.Observe(Nodes(3, {}), kStart);
  loss.Observe(Nodes(3, {1, 2}), kStart + 1s);
  EXPECT_EQ(loss.why(), "moves are frozen: 2 of 3 nodes went at once: 1, 2");
}

TEST(MassLossTest, OneAfterTheOtherWithinTheWindowIsAtOnce) {
  MassLoss loss;
  loss.Observe(Nodes(5, {}), kStart);
  loss.Observe(Nodes(5, {1}), kStart + 1s);
  loss.Observe(Nodes(5, {1, 2}), kStart + 10s);
  EXPECT_FALSE(loss.frozen());
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 21s);
  EXPECT_TRUE(loss.frozen());
}

TEST(MassLossTest, OneAfterTheOtherOverALongTimeIsNot) {
  MassLoss loss;
  loss.Observe(Nodes(5, {}), kStart);
  loss.Observe(Nodes(5, {1}), kStart + 1min);
  loss.Observe(Nodes(5, {1, 2}), kStart + 2min);
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 3min);
  EXPECT_FALSE(loss.frozen());
}

TEST(MassLossTest, EndsOnceTheyAreBackForAWhile) {
  MassLoss loss;
  loss.Observe(Nodes(5, {}), kStart);
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 1s);
  ASSERT_TRUE(loss.frozen());
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 10min);
  EXPECT_TRUE(loss.frozen());  // however long
  loss.Observe(Nodes(5, {1, 2}), kStart + 11min);
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 11min + 5s);  // again
  loss.Observe(Nodes(5, {1, 2}), kStart + 12min);
  EXPECT_TRUE(loss.frozen());
  loss.Observe(Nodes(5, {1, 2}), kStart + 12min + 10s);
  EXPECT_FALSE(loss.frozen());
  // What is still away counts no more.
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 12min + 11s);
  EXPECT_FALSE(loss.frozen());
}

TEST(MassLossTest, EndsWhenAnOperatorSaysThatTheyAreGone) {
  MassLoss loss;
  loss.Observe(Nodes(5, {}), kStart);
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 1s);
  ASSERT_TRUE(loss.frozen());
  loss.Release();
  EXPECT_FALSE(loss.frozen());
  EXPECT_EQ(loss.why(), "");
  loss.Observe(Nodes(5, {1, 2, 3}), kStart + 2s);
  EXPECT_FALSE(loss.frozen());
  // Of the two that are left, one is never two.
  loss.Observe(Nodes(5, {0, 1, 2, 3}), kStart + 3s);
  EXPECT_FALSE(loss.frozen());
}

TEST(MassLossTest, WhoLeftInOrderDoesNotCount) {
  MassLoss loss;
  loss.Observe(Nodes(5, {}), kStart);
  loss.Observe(Nodes(2, {}), kStart + 1s);
  EXPECT_FALSE(loss.frozen());
}

RC_GTEST_PROP(MassLossProperty, FreezesExactlyWhenTheRuleSaysAtTheFirstLoss, ()) {
  const int size = *rc::gen::inRange(1, 12);
  const int away = *rc::gen::inRange(0, size + 1);
  std::vector<NodePresence> nodes = Nodes(size, {});
  MassLoss loss;
  loss.Observe(nodes, kStart);
  for (int i = 0; i < away; ++i) nodes[static_cast<size_t>(i)].present = false;
  loss.Observe(nodes, kStart + 1s);
  RC_ASSERT(loss.frozen() == (away >= 2 && 2 * away > size));
  // All back for long enough: whatever it was, it is over.
  loss.Observe(Nodes(size, {}), kStart + 2s);
  loss.Observe(Nodes(size, {}), kStart + 12s);
  RC_ASSERT(!loss.frozen());
}

}  // namespace
}  // namespace evenkeel
