#include "cluster/live/cluster_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class ClusterHealthTest : public testing::Test {
 protected:
  ClusterHealthTest() { Set({"own", "a", "b", "c"}); }
  void Set(const std::vector<std::string>& names) {
    views_.clear();
    for (const std::string& name : names) {
      auto& view = views_.emplace_back();
      view.name = name;
      view.known = true;
      leases_.nodes.insert(name);
    }
  }
  ReplicaTable::NodeView& View(const std::string& name) {
    for (auto& view : views_) {
      if (view.name == name) return view;
    }
    return views_.front();
  }
  // Looks once a second for so long.
  std::vector<std::string> Pass(int seconds, bool store = true) {
    std::vector<std::string> said;
    for (int i = 0; i < seconds; ++i) {
      now_ += 1s;
      for (const auto& change : health_.Look(views_, store ? &leases_ : nullptr, now_))
        said.push_back(change.what + ": " + change.why);
    }
    return said;
  }

  ClusterHealth health_;
  std::vector<ReplicaTable::NodeView> views_;
  HeldLeases leases_{{}, true};
  Time now_{1h};
};

TEST_F(ClusterHealthTest, ALapsedLeaseAloneMakesSuspectAndAFailedProbeWithItDead) {
  Pass(2);
  leases_.nodes.erase("a");
  EXPECT_THAT(Pass(10), testing::ElementsAre("node 'a' is suspect: lease gone"));
  View("a").failed = true;
  EXPECT_THAT(Pass(5), testing::ElementsAre("node 'a' is dead: lease gone, probe failed"));
  EXPECT_EQ(health_.Of("a"), Health::kDead);
  EXPECT_EQ(health_.Of("b"), Health::kAlive);
}

TEST_F(ClusterHealthTest, OldFiguresAloneMakeSuspect) {
  Pass(2);
  View("a").age_s = 60;
  Pass(30);
  EXPECT_EQ(health_.Of("a"), Health::kSuspect);
  EXPECT_EQ(health_.WhyOf("a"), "probe failed");
}

TEST_F(ClusterHealthTest, WithoutTheStoreALostLeaseSaysNothing) {
  Pass(2);
  leases_.nodes.clear();
  EXPECT_TRUE(Pass(30, /*store=*/false).empty());
}

TEST_F(ClusterHealthTest, AStoreThatIsBackAMomentSaysOnlyWhoHoldsOne) {
  leases_.settled = false;
  Pass(2);  // all hold one
  leases_.nodes.erase("a");
  EXPECT_TRUE(Pass(10).empty());
  leases_.settled = true;
  EXPECT_THAT(Pass(1), testing::ElementsAre("node 'a' is suspect: lease gone"));
}

TEST_F(ClusterHealthTest, ANodeThatStartsHasTimeToGetItsLease) {
  leases_.nodes.erase("a");
  EXPECT_TRUE(Pass(15).empty());
  leases_.nodes.insert("a");
  EXPECT_TRUE(Pass(15).empty());
}

TEST_F(ClusterHealthTest, ANodeThatNeverGetsOneIsSuspect) {
  leases_.nodes.erase("a");
  EXPECT_THAT(Pass(30), testing::ElementsAre("node 'a' is suspect: lease gone"));
}

TEST_F(ClusterHealthTest, CallsThatTheLinkLosesKill) {
  Pass(1);
  health_.OnLinkFailure("a", now_);
  health_.OnLinkFailure("a", now_ + 500ms);
  health_.OnLinkFailure("a", now_ + 1s);
  View("a").failed = true;
  EXPECT_THAT(Pass(1), testing::ElementsAre("node 'a' is dead: data path failed"));
  health_.OnLinkFailure("nobody", now_);  // is nobody
}

TEST_F(ClusterHealthTest, WhenMostVanishAtOnceMovesFreezeAndThawWhenTheyAreBack) {
  Pass(2);
  View("a").failed = View("b").failed = View("c").failed = true;
  const auto said = Pass(5);
  EXPECT_TRUE(health_.frozen());
  EXPECT_THAT(said, testing::Contains(HasSubstr("moves are frozen: 3 of 4")));
  View("a").failed = View("b").failed = View("c").failed = false;
  Pass(30);
  EXPECT_FALSE(health_.frozen());
}

TEST_F(ClusterHealthTest, NodesThatLeaveInOrderAreNoLoss) {
  Pass(2);
  for (const char* name : {"a", "b", "c"}) View(name).figures.draining = true;
  Pass(1);
  for (const char* name : {"a", "b", "c"}) View(name).failed = true;
  Pass(10);
  EXPECT_FALSE(health_.frozen());
}

TEST_F(ClusterHealthTest, WhoWasTakenOffDoesNotKeepMovesFrozen) {
  Pass(2);
  View("a").failed = View("b").failed = View("c").failed = true;
  Pass(5);
  ASSERT_TRUE(health_.frozen());
  View("a").gone = View("b").gone = true;
  Pass(12);
  EXPECT_FALSE(health_.frozen());
}

TEST_F(ClusterHealthTest, NodesThatWereNeverSeenAreNobodyYet) {
  for (const char* name : {"a", "b", "c"}) View(name).known = false;
  leases_.nodes.clear();
  EXPECT_TRUE(Pass(30).empty());
  EXPECT_FALSE(health_.frozen());
}

}  // namespace
}  // namespace evenkeel
