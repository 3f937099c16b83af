#include "cluster/live/may_leave.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "cluster/live/figures_test_kit.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

TEST(MayLeaveTest, WhereAnotherServesItItMay) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("b", 1, 1), ViewOf("a", 1, 1),
                                            ViewOf("c", 1, 1)};
  EXPECT_EQ(MayLeave("m", true, nodes).code(), Code::kConflict);
  EXPECT_TRUE(MayLeave("m", false, nodes).ok()) << "only files go";
  Serve(nodes[2], "m", 0.01, 1);
  EXPECT_TRUE(MayLeave("m", true, nodes).ok());
  for (bool* wrong : {&nodes[2].suspect, &nodes[2].gone, &nodes[2].figures.draining}) {
    *wrong = true;
    EXPECT_EQ(MayLeave("m", true, nodes).code(), Code::kConflict);
    *wrong = false;
  }
  nodes[2].known = false;
  EXPECT_EQ(MayLeave("m", true, nodes).code(), Code::kConflict);
}

TEST(MayLeaveTest, AGraphStaysForItsNameAsAModelDoes) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("b", 1, 1), ViewOf("a", 1, 1)};
  EXPECT_EQ(MayLeave("g", true, nodes).code(), Code::kConflict);
  nodes[1].figures.graphs.push_back({.name = "g", .version = "1"});
  EXPECT_TRUE(MayLeave("g", true, nodes).ok());
}

TEST(MayLeaveTest, OfThoseThatAllLeaveTheFirstByNameStays) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("b", 1, 1), ViewOf("a", 1, 1),
                                            ViewOf("c", 1, 1)};
  nodes[1].figures.leaving = {{"m", false}};
  nodes[2].figures.leaving = {{"m", false}};
  EXPECT_TRUE(MayLeave("m", true, nodes).ok()) << "a is before b";
  std::swap(nodes[0], nodes[1]);
  const Status first = MayLeave("m", true, nodes);
  EXPECT_EQ(first.code(), Code::kConflict);
  EXPECT_THAT(first.message(), HasSubstr("as well"));
  // Who goes for certain stays for nobody's sake.
  std::swap(nodes[0], nodes[1]);
  nodes[1].figures.leaving = {{"m", true}};
  EXPECT_EQ(MayLeave("m", true, nodes).code(), Code::kConflict);
  EXPECT_EQ(MayLeave("m", false, nodes).code(), Code::kConflict) << "files of both would go";
}

// Up to four nodes that are asked at any moments, hear each other with any delay up to a fourth of the wait, and decide after it.
TEST(MayLeaveTest, WheneverTheyAreAskedOneKeepsTheModel) {
  constexpr int kWait = 25, kEnd = 200, kDelay = 6;
  int stayed = 0, went = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto below = [&](int most) {
      return static_cast<int>(random() % static_cast<uint64_t>(most));
    };
    enum class State : uint8_t { kServes, kLeaving, kGoing, kGone };
    struct One {
      std::vector<std::pair<int, State>> history;  // since when
      int asked = 0;
    };
    const int count = 2 + below(3);
    std::vector<One> nodes(static_cast<size_t>(count));
    for (One& node : nodes) {
      node.history = {{-1000, State::kServes}};
      node.asked = below(60);
    }
    const auto seen = [](const One& node, int at) {
      State state = State::kServes;
      for (const auto& [since, is] : node.history) {
        if (since <= at) state = is;
      }
      return state;
    };
    for (int now = 0; now < kEnd; ++now) {
      for (size_t i = 0; i < nodes.size(); ++i) {
        One& own = nodes[i];
        const State state = own.history.back().second;
        if (now == own.asked) own.history.emplace_back(now, State::kLeaving);
        if (state == State::kGoing && now >= own.history.back().first + below(30))
          own.history.emplace_back(now, State::kGone);
        if (now != own.asked + kWait) continue;
        std::vector<ReplicaTable::NodeView> views{ViewOf(fmt::format("n{}", i), 1, 1)};
        for (size_t k = 0; k < nodes.size(); ++k) {
          if (k == i) continue;
          auto& view = views.emplace_back(ViewOf(fmt::format("n{}", k), 1, 1));
          const State is = seen(nodes[k], now - 1 - below(kDelay));
          if (is == State::kServes) Serve(view, "m", 0.01, 1);
          if (is == State::kLeaving) view.figures.leaving = {{"m", false}};
          if (is == State::kGoing) view.figures.leaving = {{"m", true}};
        }
        const bool goes = MayLeave("m", true, views).ok();
        ++(goes ? went : stayed);
        own.history.emplace_back(now, goes ? State::kGoing : State::kServes);
      }
    }
    EXPECT_TRUE(std::ranges::any_of(
        nodes, [](const One& node) { return node.history.back().second == State::kServes; }));
  }
  EXPECT_GT(went, 1000) << "else nobody ever left";
  EXPECT_GT(stayed, 1000);
}

}  // namespace
}  // namespace evenkeel
