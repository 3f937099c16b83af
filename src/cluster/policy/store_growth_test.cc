#include "cluster/policy/store_growth.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using What = StoreStep::What;

StoreSite Site(const std::string& node) { return {node, "https://" + node + ":3"}; }
StoreMember Voter(uint64_t id, const std::string& node) {
  return {id, node, Site(node).peer_url, node + ":2", false};
}
StoreMember Learner(uint64_t id, const std::string& node, bool started) {
  StoreMember member = Voter(id, node);
  member.learner = true;
  if (!started) member.name = member.endpoint = "";
  return member;
}

class StoreGrowthTest : public testing::Test {
 protected:
  StoreStep Next(const std::vector<StoreMember>& members, const std::vector<std::string>& nodes) {
    std::vector<StoreSite> sites;
    for (const std::string& node : nodes) sites.push_back(Site(node));
    return growth_.Next(members, sites, now_);
  }

  StoreGrowth growth_;
  Time now_{1h};
};

TEST_F(StoreGrowthTest, OneOrTwoNodesHaveOneMember) {
  EXPECT_EQ(Next({Voter(1, "a")}, {"a"}).what, What::kNothing);
  EXPECT_EQ(Next({Voter(1, "a")}, {"a", "b"}).what, What::kNothing);
}

TEST_F(StoreGrowthTest, TheThirdNodeMakesThreeOneAfterTheOther) {
  const std::vector<std::string> nodes = {"a", "b", "c", "d"};
  StoreStep step = Next({Voter(1, "a")}, nodes);
  EXPECT_EQ(step.what, What::kAdd);
  EXPECT_EQ(step.node, "b");
  EXPECT_EQ(step.peer_url, Site("b").peer_url);
  EXPECT_EQ(Next({Voter(1, "a"), Learner(2, "b", false)}, nodes).what, What::kNothing);
  step = Next({Voter(1, "a"), Learner(2, "b", true)}, nodes);
  EXPECT_EQ(step.what, What::kPromote);
  EXPECT_EQ(step.member, 2U);
  EXPECT_EQ(Next({Voter(1, "a"), Voter(2, "b")}, nodes).node, "c");
  EXPECT_EQ(Next({Voter(1, "a"), Voter(2, "b"), Voter(3, "c")}, nodes).what, What::kNothing);
}

TEST_F(StoreGrowthTest, NothingGrowsWhileAVotersNodeIsAway) {
  EXPECT_EQ(Next({Voter(1, "a"), Voter(2, "b")}, {"a", "c", "d"}).what, What::kNothing);
  EXPECT_EQ(Next({Voter(1, "a"), Voter(2, "b")}, {"a", "b", "c"}).what, What::kAdd);
}

TEST_F(StoreGrowthTest, ADeadMemberIsNotReplacedByItself) {
  EXPECT_EQ(Next({Voter(1, "a"), Voter(2, "b"), Voter(3, "c")}, {"a", "b", "d"}).what,
            What::kNothing);
}

TEST_F(StoreGrowthTest, ALearnerThatDoesNotStartMakesRoomForAnother) {
  const std::vector<std::string> nodes = {"a", "b", "c", "d"};
  EXPECT_EQ(Next({Voter(1, "a"), Learner(2, "b", false)}, nodes).what, What::kNothing);
  now_ += 59s;
  EXPECT_EQ(Next({Voter(1, "a"), Learner(2, "b", false)}, nodes).what, What::kNothing);
  now_ += 2s;
  const StoreStep step = Next({Voter(1, "a"), Learner(2, "b", false)}, nodes);
  EXPECT_EQ(step.what, What::kRemove);
  EXPECT_EQ(step.member, 2U);
  EXPECT_EQ(step.node, "b");
  EXPECT_EQ(Next({Voter(1, "a")}, nodes).node, "c");
  now_ += 11min;
  EXPECT_EQ(Next({Voter(1, "a")}, nodes).node, "b");
}

TEST_F(StoreGrowthTest, EachLearnerHasItsOwnPatience) {
  const std::vector<std::string> nodes = {"a", "b", "c"};
  EXPECT_EQ(Next({Voter(1, "a"), Learner(2, "b", true)}, nodes).what, What::kPromote);
  now_ += 50s;
  EXPECT_EQ(Next({Voter(1, "a"), Voter(2, "b"), Learner(3, "c", false)}, nodes).what,
            What::kNothing);
  now_ += 50s;
  EXPECT_EQ(Next({Voter(1, "a"), Voter(2, "b"), Learner(3, "c", true)}, nodes).what,
            What::kPromote);
}

}  // namespace
}  // namespace evenkeel
