#include "cluster/live/kept_replicas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/live/figures_test_kit.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kStill = SurplusOptions().still_s, kMissing = SurplusOptions().missing_s;

// "chat" is to be on two nodes. It was on a and b; b was lost, c got it, and b is back.
class KeptReplicasTest : public testing::Test {
 protected:
  using GivenUp = KeptReplicas::GivenUp;

  KeptReplicasTest() {
    for (const char* name : {"a", "b", "c"}) nodes_.push_back(ViewOf(name, 2, 100));
    Serve(nodes_[0], "chat", 0.01, 0);
    Serve(nodes_[1], "chat", 0.01, 0);
    nodes_[0].figures.wishes = {{"chat", 2, 5}};
    EXPECT_FALSE(LookFor(60).has_value());
    nodes_[1].suspect = true;
    EXPECT_FALSE(LookFor(300).has_value());
    Serve(nodes_[2], "chat", 0.01, 0);
    EXPECT_FALSE(LookFor(60).has_value());
    nodes_[1].suspect = false;
    back_s_ = now_s_ + 1;
  }
  // What is called and was asked for twice, is on a, and finds no memory elsewhere.
  void WantMemory() {
    Serve(nodes_[0], "bert", 0.01, 10);
    nodes_[0].figures.wishes = {{"chat", 2, 5}, {"bert", 2, 6}};
    rates_["bert"] = 10;
    for (auto& node : nodes_) node.figures.free_memory_bytes = 1;
  }
  std::optional<GivenUp> Look() {
    ++now_s_;
    for (auto& node : nodes_) {
      for (ModelFigures& model : node.figures.models) ++model.done;
    }
    static_cast<void>(costs_.Look(nodes_, now_s_));
    kept_.Look(nodes_, costs_, now_s_);
    const auto rate_of = [this](std::string_view model) {
      const auto at = rates_.find(model);
      return at == rates_.end() ? 0.0 : at->second;
    };
    return kept_.Choose(nodes_, costs_, rate_of, now_s_);
  }
  // One a second, until one is given up.
  std::optional<GivenUp> LookFor(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      if (auto given = Look()) return given;
    }
    return std::nullopt;
  }

  std::vector<ReplicaTable::NodeView> nodes_;
  std::map<std::string, double, std::less<>> rates_;
  double now_s_ = 0, back_s_ = 0;
  MeasuredCosts costs_;
  KeptReplicas kept_;
};

TEST_F(KeptReplicasTest, WhatWasBroughtForALostNodeGoesOnceWhenThatIsBackAndMemoryIsWanted) {
  WantMemory();
  const auto given = LookFor(2000);
  ASSERT_TRUE(given.has_value());
  EXPECT_GE(now_s_ - back_s_, kStill);
  EXPECT_LT(now_s_ - back_s_, kStill + 2);
  EXPECT_EQ(given->model, "chat");
  EXPECT_EQ(given->node, "c") << "b has had it for longer, though it came back later";
  EXPECT_THAT(given->stay, ElementsAre("a", "b"));
  EXPECT_THAT(given->reason, HasSubstr("'chat' has 3 replicas of 2 that were asked for"));
  EXPECT_THAT(given->reason, HasSubstr("'bert' finds no memory"));
  EXPECT_FALSE(LookFor(3000).has_value()) << "it was said once";
  // It is gone, and the other two stay.
  nodes_[2].figures.models.clear();
  EXPECT_FALSE(LookFor(3000).has_value());
}

TEST_F(KeptReplicasTest, WhereThereIsMemoryItStaysUntilFewerAreAskedFor) {
  EXPECT_FALSE(LookFor(3000).has_value());
  nodes_[2].figures.wishes = {{"chat", 2, 7}};  // said anew, by whichever node
  const double said_s = now_s_ + 1;
  const auto given = LookFor(2000);
  ASSERT_TRUE(given.has_value());
  EXPECT_GE(now_s_ - said_s, kStill);
  EXPECT_EQ(given->node, "c");
  EXPECT_THAT(given->reason, HasSubstr("fewer were asked for"));
}

TEST_F(KeptReplicasTest, OfTwoThatAreTooManyBothGoOneAfterTheOther) {
  nodes_.push_back(ViewOf("d", 2, 100));
  Serve(nodes_[3], "chat", 0.01, 0);
  EXPECT_FALSE(LookFor(60).has_value());
  nodes_[2].figures.wishes = {{"chat", 2, 7}};  // there are four
  double last_s = now_s_;
  for (const size_t index : {size_t{3}, size_t{2}}) {
    const auto given = LookFor(2000);
    ASSERT_TRUE(given.has_value()) << index;
    EXPECT_EQ(given->node, nodes_[index].name);
    EXPECT_GE(now_s_ - last_s, kStill);
    EXPECT_THAT(given->reason, HasSubstr("fewer were asked for"));
    last_s = now_s_;
    nodes_[index].figures.models.clear();
  }
  EXPECT_FALSE(LookFor(3000).has_value());
}

TEST_F(KeptReplicasTest, WhatComesAfterFewerWereAskedForIsNotWhatWasMeant) {
  nodes_[2].figures.wishes = {{"chat", 2, 7}};
  EXPECT_FALSE(LookFor(60).has_value());
  nodes_.push_back(ViewOf("d", 2, 100));
  Serve(nodes_[3], "chat", 0.01, 0);
  EXPECT_FALSE(LookFor(3000).has_value());
}

TEST_F(KeptReplicasTest, WhereAsManyAreAskedForAsServeNothingGoes) {
  nodes_[2].figures.wishes = {{"chat", 3, 7}};
  EXPECT_FALSE(LookFor(3000).has_value());
  nodes_[2].figures.wishes = {{"chat", 0, 8}};  // whatever was said before holds no more
  EXPECT_FALSE(LookFor(3000).has_value());
}

TEST_F(KeptReplicasTest, ANodeThatComesAndGoesTakesNothingAway) {
  WantMemory();
  for (int round = 0; round < 20; ++round) {
    EXPECT_FALSE(LookFor(static_cast<int>(kStill) - 20).has_value()) << round;
    nodes_[1].suspect = true;
    EXPECT_FALSE(LookFor(10).has_value()) << round;
    nodes_[1].suspect = false;
  }
}

TEST_F(KeptReplicasTest, MemoryThatIsTakenForAMomentIsNotMissed) {
  WantMemory();
  nodes_.push_back(ViewOf("d", 2, 100));  // has room, and none of both
  int64_t& free_bytes = nodes_[3].figures.free_memory_bytes;
  const int64_t much = free_bytes;
  EXPECT_FALSE(LookFor(2000).has_value());
  for (int round = 0; round < 5; ++round) {
    free_bytes = 1;
    EXPECT_FALSE(LookFor(static_cast<int>(kMissing) - 1).has_value()) << round;
    free_bytes = round % 2 == 0 ? much : 0;  // 0: not known
    EXPECT_FALSE(LookFor(1).has_value()) << round;
  }
  free_bytes = 1;
  const double room_s = now_s_;
  const auto given = LookFor(2000);
  ASSERT_TRUE(given.has_value());
  EXPECT_EQ(now_s_ - room_s, kMissing);
}

TEST_F(KeptReplicasTest, ANodeWithRoomThatIsSuspectIsWaitedFor) {
  WantMemory();
  nodes_.push_back(ViewOf("d", 2, 100));
  EXPECT_FALSE(LookFor(2000).has_value());
  nodes_[3].suspect = true;
  double last_s = now_s_;
  for (; nodes_[3].age_s < kMissing; last_s = now_s_) {
    EXPECT_FALSE(LookFor(1).has_value()) << nodes_[3].age_s;
    ++nodes_[3].age_s;
  }
  const auto given = LookFor(2000);
  ASSERT_TRUE(given.has_value());
  EXPECT_EQ(now_s_ - last_s, kMissing) << "it is not to be counted on any more";
}

TEST_F(KeptReplicasTest, ANodeWithRoomThatDrainsIsNotCountedOn) {
  WantMemory();
  nodes_.push_back(ViewOf("d", 2, 100));
  nodes_[3].suspect = nodes_[3].figures.draining = true;
  EXPECT_TRUE(LookFor(2000).has_value());
}

TEST_F(KeptReplicasTest, WhatCameToNothingIsSaidAgainAfterHours) {
  WantMemory();
  ASSERT_TRUE(LookFor(2000).has_value());
  for (int round = 0; round < 2; ++round) {
    EXPECT_FALSE(LookFor(static_cast<int>(KeptReplicas::kAgain) - 1).has_value()) << round;
    const auto given = LookFor(1);
    ASSERT_TRUE(given.has_value()) << round;
    EXPECT_EQ(given->node, "c");
  }
}

TEST_F(KeptReplicasTest, WhatWasHeldUpIsSaidAgain) {
  WantMemory();
  for (int round = 0; round < 3; ++round) {
    const auto given = LookFor(2000);
    ASSERT_TRUE(given.has_value()) << round;
    EXPECT_EQ(given->node, "c");
    kept_.NotDone(given->model, now_s_);
    EXPECT_FALSE(LookFor(static_cast<int>(kStill) - 1).has_value()) << round;
  }
}

TEST_F(KeptReplicasTest, ANodeThatDrainsKeepsWhatItHasAndDoesNotCount) {
  WantMemory();
  nodes_.push_back(ViewOf("d", 2, 100));
  Serve(nodes_[3], "chat", 0.01, 0);
  nodes_[3].suspect = nodes_[3].figures.draining = true;
  const auto given = LookFor(2000);
  ASSERT_TRUE(given.has_value());
  EXPECT_EQ(given->node, "c");
  EXPECT_THAT(given->stay, ElementsAre("a", "b", "d"));
}

TEST_F(KeptReplicasTest, WhatItsLoadNeedsStays) {
  WantMemory();
  for (auto& node : nodes_) node.figures.models[0].rate_rps = 50;
  rates_["chat"] = 180;  // 0.9 s a second on one node, 0.45 on each of two
  EXPECT_FALSE(LookFor(3000).has_value());
  rates_["chat"] = 120;
  EXPECT_TRUE(LookFor(3000).has_value());
}

TEST_F(KeptReplicasTest, FewCallsThatAreMuchWorkNeedTheirReplicas) {
  WantMemory();
  for (auto& node : nodes_) {
    node.figures.models[0].rate_rps = 0.01;
    node.figures.models[0].call_rows = 10'000;  // 1.5 s a second on one node, 0.75 on each of two
  }
  rates_["chat"] = 0;  // fewer than count for what is missing
  EXPECT_FALSE(LookFor(3000).has_value());
  for (auto& node : nodes_) node.figures.models[0].call_rows = 1000;
  EXPECT_TRUE(LookFor(3000).has_value());
}

}  // namespace
}  // namespace evenkeel
