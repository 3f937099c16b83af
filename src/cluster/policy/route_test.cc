#include "cluster/policy/route.h"

#include <gtest/gtest.h>

#include <map>

namespace evenkeel {
namespace {

ReplicaView Replica(double capacity, double load_s) {
  ReplicaView view;
  view.capacity = capacity;
  view.load_s = view.backlog_s = view.outstanding_s = load_s;
  view.service_s = 0.1 / capacity;
  return view;
}

TEST(RouteTest, TheFirstToAnswerIsChosen) {
  Router router(RouteRule::kUtility, 1);
  // 1 s of work on a node of 1; 3 s on one of 4: done sooner there.
  EXPECT_EQ(router.Choose(std::vector{Replica(1, 1), Replica(4, 3)}), 1);
  std::vector far = {Replica(1, 0.1), Replica(1, 0)};
  far[1].forward_s = 0.5;
  EXPECT_EQ(router.Choose(far), 0);
  // What it has under way there itself is the least.
  std::vector sent = {Replica(1, 2), Replica(1, 0.3)};
  sent[0].backlog_s = 0;
  EXPECT_EQ(router.Choose(sent), 1);
}

// Two of its own on the fast node, of 10 ms each; the slow one is idle and takes 35 ms. A request of its own would be answered there later, and the next ones sooner.
TEST(RouteTest, WhoSendsAllTheWorkLeavesRoomOnTheFastNode) {
  std::vector<ReplicaView> nodes(2);
  nodes[0].backlog_s = nodes[0].outstanding_s = 0.020;
  nodes[0].service_s = 0.010;
  nodes[1].service_s = 0.035;
  EXPECT_DOUBLE_EQ(Router::OwnPart(nodes), Router::kHalf);
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), 1);
  // The same work, but it is others': each request goes where it is answered first.
  nodes[0].outstanding_s = 0.010;
  EXPECT_DOUBLE_EQ(Router::OwnPart(nodes), 1);
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), 0);
  // Suspects' work is nobody's.
  nodes[0].outstanding_s = 0.020;
  nodes.push_back({.backlog_s = 5, .suspect = true});
  EXPECT_DOUBLE_EQ(Router::OwnPart(nodes), Router::kHalf);
}

// The own node takes 35 ms; another, 20 ms of link away, takes 10: it answers 5 ms sooner.
TEST(RouteTest, ALoneRequestGoesWhereItIsAnsweredFirst) {
  std::vector<ReplicaView> nodes(2);
  nodes[0].service_s = 0.035;
  nodes[1].service_s = 0.010;
  nodes[1].forward_s = 0.020;
  EXPECT_DOUBLE_EQ(Router::OwnPart(nodes), 1);
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), 1);
  // With the first under way there, the next one keeps room on it.
  nodes[1].backlog_s = nodes[1].outstanding_s = 0.010;
  EXPECT_DOUBLE_EQ(Router::OwnPart(nodes), Router::kHalf);
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), 0);
  // Nothing is under way but with a suspect: that is nothing.
  nodes[1] = {.service_s = 0.010, .forward_s = 0.020};
  nodes.push_back({.backlog_s = 1, .outstanding_s = 1, .suspect = true});
  EXPECT_DOUBLE_EQ(Router::OwnPart(nodes), 1);
}

// A backlog of sequences is no wait: they run side by side.
TEST(RouteTest, SequencesGoWhereTheyAndThoseBesideThemLoseLeast) {
  std::vector<ReplicaView> nodes(2);
  nodes[0].backlog_s = nodes[0].outstanding_s = 3;
  nodes[0].sequence = SequenceCost{.service_s = 1.5};
  nodes[1].sequence = SequenceCost{.service_s = 4};
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), 0);
  nodes[0].sequence->beside_s = 2.6;
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), 1);
  nodes[0].sequence->beside_s = 0;
  nodes[0].sequence->wait_s = 2.6;  // for a slot
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), 1);
}

TEST(BacklogTest, IsWorkedOffAndGrowsByWhatAllSend) {
  Backlog backlog(2);
  backlog.OnFigures(10, 0, 1, 3);
  EXPECT_DOUBLE_EQ(backlog.At(1), 8);
  backlog.OnSent(1, 2, 3);
  EXPECT_DOUBLE_EQ(backlog.At(2), 9);
  EXPECT_DOUBLE_EQ(backlog.At(3), 7);
  EXPECT_DOUBLE_EQ(backlog.At(100), 0);
  // Newer figures: what was sent before they were made is in them.
  backlog.OnFigures(4, 2, 3, 3);
  EXPECT_DOUBLE_EQ(backlog.At(3), 2);
  backlog.OnFigures(100, 1, 3, 3);  // older ones
  EXPECT_DOUBLE_EQ(backlog.At(3), 2);
  // Sent after: played again. Idle time is not made up for.
  backlog.OnSent(1, 10, 3);
  backlog.OnFigures(1, 8, 11, 3);
  EXPECT_DOUBLE_EQ(backlog.At(11), 1);
}

// A hundred gateways with the same figures, in which one node is idle: not all of them send there before they hear of it.
TEST(RouteTest, AmongManyTheBestOneIsNotEverybodysChoice) {
  std::vector<ReplicaView> nodes(40, Replica(1, 1));
  nodes[7] = Replica(1, 0);
  nodes[9] = Replica(4, 4);  // as far behind as the others, and four times as large
  nodes[11].suspect = true;
  std::map<int, int> sent;
  for (uint64_t gateway = 0; gateway < 4000; ++gateway)
    ++sent[Router(RouteRule::kUtility, gateway).Choose(nodes)];
  EXPECT_EQ(sent.count(11), 0u);
  EXPECT_GT(sent[7], 130);  // more than its part: drawn first or second it is taken
  EXPECT_LT(sent[7], 300);  // two in 42
  EXPECT_GT(sent[9], 3 * sent[3]);
  for (int node = 0; node < 40; ++node) {
    if (node != 11) {
      EXPECT_GT(sent[node], 0) << node;
    }
  }
  nodes.assign(40, nodes[11]);
  EXPECT_EQ(Router(RouteRule::kUtility, 1).Choose(nodes), -1);
}

TEST(RouteTest, ASuspectGetsNothing) {
  for (const RouteRule rule : RouteRules()) {
    Router router(rule, 3);
    std::vector replicas = {Replica(1, 0), Replica(1, 50), Replica(8, 0)};
    replicas[0].suspect = replicas[2].suspect = true;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(router.Choose(replicas), 1) << NameOf(rule);
    replicas[1].suspect = true;
    EXPECT_EQ(router.Choose(replicas), -1) << NameOf(rule);
    EXPECT_EQ(router.Choose({}), -1) << NameOf(rule);
  }
}

TEST(RouteTest, WeightsAreKept) {
  Router router(RouteRule::kWeighted, 1);
  std::map<int, int> chosen;
  const std::vector replicas = {Replica(0.25, 0), Replica(0.5, 0), Replica(1, 0)};
  for (int i = 0; i < 700; ++i) ++chosen[router.Choose(replicas)];
  EXPECT_EQ(chosen[0], 100);
  EXPECT_EQ(chosen[1], 200);
  EXPECT_EQ(chosen[2], 400);
}

TEST(RouteTest, EqualOnesTakeTurns) {
  for (const RouteRule rule : {RouteRule::kUtility, RouteRule::kLeastLoaded, RouteRule::kMethod}) {
    Router router(rule, 1);
    std::map<int, int> chosen;
    const std::vector replicas(4, Replica(1, 0));
    for (int i = 0; i < 400; ++i) ++chosen[router.Choose(replicas)];
    for (const auto& [at, count] : chosen) EXPECT_EQ(count, 100) << NameOf(rule);
  }
}

// A table has a place for every node of the cluster; few of them may serve the model.
TEST(RouteTest, OfFewThatMayBeChosenTheBestIsFoundHoweverManyAreNot) {
  std::vector<ReplicaView> replicas(20, Replica(1, 0));
  for (ReplicaView& one : replicas) one.suspect = true;
  for (const size_t open : {3, 9, 17}) {
    replicas[open] = Replica(1, open == 9 ? 0 : 5);
    replicas[open].service_s = 0.1;
  }
  Router router(RouteRule::kUtility, 1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(router.Choose(replicas), 9);
}

// u = -(c / mean c + L / C) with the request counted in, the mean over those that serve: 2 at 4/3 + 0.5 + 0.4, 7 at 2/3 + 0.9 + 0.2.
// With the others in the mean (0.06) cost would be nearly all that counts, and 2 would never be chosen.
TEST(RouteTest, TheMethodIsTheUtilityToTheLetter) {
  std::vector<ReplicaView> replicas(10, Replica(1, 0));
  for (ReplicaView& one : replicas) {
    one.suspect = true;
    one.service_s = 0;
  }
  for (const size_t i : {2, 7}) {
    replicas[i].suspect = false;
    replicas[i].load_s = i == 2 ? 0.5 : 0.9;
    replicas[i].service_s = i == 2 ? 0.4 : 0.2;
  }
  EXPECT_EQ(Router(RouteRule::kMethod, 1).Choose(replicas), 7);
  replicas[7].load_s = 1.4;  // 2/3 + 1.4 + 0.2 = 2.27 beside 2.23
  EXPECT_EQ(Router(RouteRule::kMethod, 1).Choose(replicas), 2);
}

// Among many two are looked at, and never one twice.
TEST(RouteTest, OfManyTwoDifferentOnesAreCompared) {
  std::vector<ReplicaView> replicas(9);  // with nothing to do
  for (ReplicaView& one : replicas) one.capacity = 1e-9;
  replicas[4] = Replica(1, 100);  // nearly always drawn first
  Router router(RouteRule::kUtility, 1);
  int other = 0;
  for (int i = 0; i < 100; ++i) other += router.Choose(replicas) != 4 ? 1 : 0;
  EXPECT_GT(other, 95);
}

TEST(RouteTest, NamesAreKnown) {
  for (const RouteRule rule : RouteRules()) EXPECT_EQ(*RouteRuleNamed(NameOf(rule)), rule);
  EXPECT_NE(RouteRuleNamed("fate").status().message().find("two-choices"), std::string::npos);
}

}  // namespace
}  // namespace evenkeel
