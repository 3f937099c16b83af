#include "cluster/live/replica_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

NodeFigures Figures(const std::string& node, uint64_t sequence, double cores = 1,
                    double backlog_s = 0, double row_s = 0.01) {
  NodeFigures figures;
  figures.node = node;
  figures.incarnation = 7;
  figures.sequence = sequence;
  figures.cores = cores;
  figures.backlog_s = backlog_s;
  figures.models.push_back(
      {.name = "m", .version = "1", .row_s = row_s, .alone_s = row_s, .signature = 5});
  return figures;
}

constexpr ReplicaTable::Wanted kOne{"m", "", 5, 1};

class ReplicaTableTest : public testing::Test {
 protected:
  ReplicaTable table_{RouteRule::kUtility, 1, {"a", "b", "c"}};
};

TEST_F(ReplicaTableTest, NobodyIsChosenBeforeFiguresCame) {
  EXPECT_EQ(table_.Choose(kOne, {}, 1).node, -1);
}

TEST_F(ReplicaTableTest, ADoubtfulNodeGetsWorkOnlyWhereNoOtherCanTakeIt) {
  table_.OnFigures(1, Figures("b", 1, 4), 10, 10);
  table_.OnFigures(2, Figures("c", 1, 1, 5.0), 10, 10);  // long busy
  table_.OnDoubt(1, true);
  EXPECT_EQ(table_.Choose(kOne, {}, 10).node, 2);
  EXPECT_EQ(table_.Choose(kOne, {false, false, true}, 10).node, 1);
  table_.OnDoubt(1, false);
  EXPECT_EQ(table_.Choose(kOne, {}, 10).node, 1);
}

TEST_F(ReplicaTableTest, ANodeThatIsGoneIsNeverChosenWhateverItTells) {
  table_.OnFigures(1, Figures("b", 1), 10, 10);
  ASSERT_EQ(table_.Choose(kOne, {}, 10).node, 1);
  table_.OnGone(1);
  table_.OnFigures(1, Figures("b", 2), 11, 11);
  EXPECT_EQ(table_.Choose(kOne, {}, 11).node, -1);
  EXPECT_TRUE(table_.Look(11)[1].gone);
  EXPECT_FALSE(table_.Look(11)[1].known);
}

TEST_F(ReplicaTableTest, TheLeastBusyNodeIsChosenByItsCores) {
  table_.OnFigures(0, Figures("a", 1, 1, 0.5), 10, 10);
  table_.OnFigures(1, Figures("b", 1, 4, 1.0), 10, 10);  // a quarter of a second
  EXPECT_EQ(table_.Choose(kOne, {}, 10).node, 1);
}

// A graph's steps are booked where their models are: asking a node to run them makes it no busier.
TEST_F(ReplicaTableTest, CallsOfAGraphGoToWhoHasItAndAreNoWork) {
  NodeFigures with = Figures("b", 1, 1);
  with.graphs.push_back({.name = "m", .version = "1", .signature = 6});
  table_.OnFigures(0, Figures("a", 1, 8), 10, 10);
  table_.OnFigures(1, with, 10, 10);
  with.node = "c";
  table_.OnFigures(2, with, 10, 10);
  const ReplicaTable::Wanted graph{
      .model = "m", .version = "", .signature = 6, .rows = 64, .graph = true};
  std::map<int, int> sent;
  for (int i = 0; i < 20; ++i) ++sent[table_.Choose(graph, {}, 10).node];
  EXPECT_EQ(sent[0], 0) << "it has a model of that name";
  EXPECT_EQ(sent[1] + sent[2], 20);
  for (const auto& view : table_.Look(10)) EXPECT_LT(view.outstanding_s, 1e-3) << view.name;
  EXPECT_EQ(table_.Choose(graph, {false, true, true}, 10).node, -1);
}

// The rule that ours is compared with knows of a quota as ours does: by what a row takes there.
TEST(ReplicaTableWeightedTest, TurnsAreByMeasuredSpeed) {
  ReplicaTable table(RouteRule::kWeighted, 1, {"a", "b"});
  table.OnFigures(0, Figures("a", 1, 1, 0, 0.01), 10, 10);
  table.OnFigures(1, Figures("b", 1, 1, 0, 0.04), 10, 10);
  std::map<int, int> sent;
  for (int i = 0; i < 100; ++i) ++sent[table.Choose(kOne, {}, 10).node];
  EXPECT_EQ(sent[0], 80);
  EXPECT_EQ(sent[1], 20);
}

// Another node's newest version may take and give other things than the one that is meant.
TEST_F(ReplicaTableTest, TheVersionThatIsMeantIsNamed) {
  NodeFigures figures = Figures("a", 1);
  figures.models.push_back({.name = "m", .version = "9", .row_s = 0.01, .signature = 5});
  figures.models.push_back({.name = "m", .version = "10", .row_s = 0.01, .signature = 6});
  table_.OnFigures(0, figures, 10, 10);
  EXPECT_EQ(table_.Choose(kOne, {}, 10).version, "9");
  EXPECT_EQ(table_.Choose({"m", "1", 5, 1}, {}, 10).version, "1");
  EXPECT_EQ(table_.Choose({"m", "", 6, 1}, {}, 10).version, "10");
}

TEST_F(ReplicaTableTest, WhatWasSentCountsBeforeFiguresTellOfIt) {
  table_.OnFigures(0, Figures("a", 1), 10, 10);
  table_.OnFigures(1, Figures("b", 1), 10, 10);
  std::map<int, int> sent;
  for (int i = 0; i < 100; ++i) ++sent[table_.Choose(kOne, {}, 10).node];
  EXPECT_EQ(sent[0], 50);
  EXPECT_EQ(sent[1], 50);
}

TEST_F(ReplicaTableTest, ALinkFailureMakesSuspectUntilLaterFigures) {
  table_.OnFigures(1, Figures("b", 1), 10, 10);
  table_.OnLinkFailure(1, 10.5);
  EXPECT_EQ(table_.Choose(kOne, {}, 10.6).node, -1);
  table_.OnFigures(1, Figures("b", 2), 10.4, 10.7);  // made before the failure
  EXPECT_EQ(table_.Choose(kOne, {}, 10.7).node, -1);
  table_.OnFigures(1, Figures("b", 3), 10.8, 10.9);
  EXPECT_EQ(table_.Choose(kOne, {}, 10.9).node, 1);
}

// Where only the way back is open, what the node tells would bring the calls back each time, to be lost again.
TEST_F(ReplicaTableTest, AfterALinkFailureOnlyAnAnswerShowsThatThereIsAWay) {
  table_.OnFigures(1, Figures("b", 1), 10, 10);
  table_.OnLinkFailure(1, 10.5);
  table_.OnFigures(1, Figures("b", 2), 10.8, 10.8, /*answered=*/false);
  EXPECT_EQ(table_.Choose(kOne, {}, 10.8).node, -1);
  EXPECT_NEAR(table_.Look(12)[1].age_s, 1.2, 1e-9);
  EXPECT_NEAR(table_.Look(12)[1].silent_s, 2, 1e-9);
  // The answer was made before what is known by now, and shows the way all the same.
  table_.OnFigures(1, Figures("b", 2), 10.7, 10.9);
  EXPECT_EQ(table_.Choose(kOne, {}, 10.9).node, 1);
}

TEST_F(ReplicaTableTest, OldFiguresMakeSuspectButNotTheOwnNode) {
  table_.OnFigures(0, Figures("a", 1, 1, 100), 10, 10);
  table_.OnFigures(1, Figures("b", 1), 10, 10);
  EXPECT_EQ(table_.Choose(kOne, {}, 10 + ReplicaTable::kStale - 0.1).node, 1);
  EXPECT_EQ(table_.Choose(kOne, {}, 10 + ReplicaTable::kStale + 0.1).node, 0);
}

TEST_F(ReplicaTableTest, ANodeThatDrainsGetsNothing) {
  NodeFigures figures = Figures("b", 1);
  figures.draining = true;
  table_.OnFigures(1, figures, 10, 10);
  EXPECT_EQ(table_.Choose(kOne, {}, 10).node, -1);
}

TEST_F(ReplicaTableTest, OldAndRepeatedFiguresSayNothing) {
  table_.OnFigures(1, Figures("b", 5, 1, 2), 10, 10);
  table_.OnFigures(1, Figures("b", 4, 1, 0), 11, 11);
  table_.OnFigures(1, Figures("b", 5, 1, 0), 11, 11);
  EXPECT_DOUBLE_EQ(table_.Look(11)[1].figures.backlog_s, 2);
  NodeFigures restarted = Figures("b", 1, 1, 0);
  restarted.incarnation = 8;
  table_.OnFigures(1, restarted, 12, 12);
  EXPECT_DOUBLE_EQ(table_.Look(12)[1].figures.backlog_s, 0);
}

TEST_F(ReplicaTableTest, OnlyNodesWithModelVersionAndSignatureAreChosen) {
  table_.OnFigures(1, Figures("b", 1), 10, 10);
  EXPECT_EQ(table_.Choose({"n", "", 0, 1}, {}, 10).node, -1);
  EXPECT_EQ(table_.Choose({"m", "2", 0, 1}, {}, 10).node, -1);
  EXPECT_EQ(table_.Choose({"m", "", 6, 1}, {}, 10).node, -1);
  EXPECT_EQ(table_.Choose({"m", "1", 5, 1}, {}, 10).node, 1);
  EXPECT_EQ(table_.Choose({"m", "1", 0, 1}, {false, true, false}, 10).node, -1);
}

TEST_F(ReplicaTableTest, WhatEndedIsNotOutstanding) {
  table_.OnFigures(1, Figures("b", 1), 10, 10);
  const auto first = table_.Choose(kOne, {}, 10);
  const auto second = table_.Choose({"m", "", 5, 3}, {}, 10);
  EXPECT_NEAR(table_.Look(10)[1].outstanding_s, 0.04, 1e-12);
  table_.Ended(first, 10);
  table_.Ended(second, 10);
  EXPECT_EQ(table_.Look(10)[1].outstanding_s, 0);
  EXPECT_EQ(table_.Look(10)[1].outstanding, 0);
}

// Calls at a rate that the nodes can just hold, of which each works off what it has: none waits much longer than the others.
TEST_F(ReplicaTableTest, UnequalNodesKeepEqualLevels) {
  const double cores[] = {1, 2, 4};
  double work[] = {0, 0, 0};
  std::mt19937_64 random(3);
  std::exponential_distribution<double> gap(0.9 * 7 / 0.01);
  double now = 10, told = 0;
  uint64_t sequence = 0;
  const char* names[] = {"a", "b", "c"};
  double worst = 0;
  for (int i = 0; i < 20000; ++i) {
    const double step = gap(random);
    now += step;
    for (int n = 0; n < 3; ++n) work[n] = std::max(0.0, work[n] - step * cores[n]);
    if (now - told > 0.2) {
      told = now;
      ++sequence;
      for (int n = 0; n < 3; ++n)
        table_.OnFigures(n, Figures(names[n], sequence, cores[n], work[n]), now, now);
    }
    const auto choice = table_.Choose(kOne, {}, now);
    ASSERT_GE(choice.node, 0);
    work[choice.node] += choice.work_s;
    table_.Ended(choice, now);
    double low = 1e9, high = 0;
    for (int n = 0; n < 3; ++n) {
      low = std::min(low, work[n] / cores[n]);
      high = std::max(high, work[n] / cores[n]);
    }
    worst = std::max(worst, high - low);
  }
  EXPECT_LT(worst, 0.03);  // three rows on the slowest
}

TEST(WorkOfTest, IsByWhatRanLatelyWhereThatIsTold) {
  ModelFigures model;
  EXPECT_EQ(WorkOf(model, 3, 10), 0);
  model.row_s = 0.01;
  model.prompt_token_s = 0.002;
  EXPECT_DOUBLE_EQ(WorkOf(model, 3, 10), 0.05);
  model.late_row_s = 0.04;  // all of it takes four times as long
  EXPECT_DOUBLE_EQ(WorkOf(model, 3, 10), 0.2);
  model.row_s = model.prompt_token_s = 0;
  EXPECT_DOUBLE_EQ(WorkOf(model, 3, 10), 0.12);
}

TEST_F(ReplicaTableTest, WhatARowTakesLatelyIsWhatCounts) {
  NodeFigures slow = Figures("b", 1);
  slow.models[0].late_row_s = 0.04;
  table_.OnFigures(0, Figures("a", 1), 10, 10);
  table_.OnFigures(1, slow, 10, 10);
  std::map<int, int> sent;
  for (int i = 0; i < 100; ++i) ++sent[table_.Choose(kOne, {}, 10).node];
  EXPECT_NEAR(sent[0], 80, 1);
  EXPECT_NEAR(sent[1], 20, 1);
}

// A step of n answers takes `slow` (10 ms + 2 ms (n - 1)).
NodeFigures Generating(const std::string& node, uint64_t sequence, double slow, int open = 0) {
  NodeFigures figures = Figures(node, sequence, 1, open * 0.1 * slow, 0.003 * slow);
  ModelFigures& model = figures.models[0];
  model.language = true;
  model.slots = 8;
  model.open = open;
  model.call_rows = model.answer_tokens = 100;
  model.step_s = {0.010 * slow, 0.012 * slow, 0.016 * slow, 0.024 * slow};
  return figures;
}

constexpr ReplicaTable::Wanted kAnswer{"m", "", 5, 100, 10};

TEST_F(ReplicaTableTest, SequencesGoToASlowNodeOnlyWhereTheyLoseLessThere) {
  table_.OnFigures(0, Generating("a", 1, 1), 10, 10);
  table_.OnFigures(1, Generating("b", 1, 2), 10, 10);
  std::map<int, int> sent;
  // 1 s + 0.2 n + 0.5 (n 0.2) there: 1.0, 1.3, 1.6, 1.9; the slow node's first one takes 2.0.
  for (int i = 0; i < 4; ++i) ++sent[table_.Choose(kAnswer, {}, 10).node];
  EXPECT_EQ(sent[0], 4);
  EXPECT_EQ(table_.Choose(kAnswer, {}, 10).node, 1);
  // With twelve under way the fast one has 8 or 9, and the slow one the others.
  sent = {{0, 4}, {1, 1}};
  for (int i = 0; i < 7; ++i) ++sent[table_.Choose(kAnswer, {}, 10).node];
  EXPECT_NEAR(sent[0], 8.5, 0.6);
}

TEST_F(ReplicaTableTest, SequencesOfThisGatewayAndOthersAreCountedOnce) {
  table_.OnFigures(0, Generating("a", 1, 1), 10, 10);
  table_.OnFigures(1, Generating("b", 1, 1), 10, 10);
  std::vector<ReplicaTable::Choice> own;
  for (int i = 0; i < 6; ++i) own.push_back(table_.Choose(kAnswer, {}, 10));
  EXPECT_EQ(std::ranges::count(own, 0, &ReplicaTable::Choice::node), 3);
  // The first node has two of another gateway, beside the three: the next two go to the second one.
  table_.OnFigures(0, Generating("a", 2, 1, 5), 11, 11);
  table_.OnFigures(1, Generating("b", 2, 1, 3), 11, 11);
  EXPECT_EQ(table_.Choose(kAnswer, {}, 11).node, 1);
  EXPECT_EQ(table_.Choose(kAnswer, {}, 11).node, 1);
  // What has ended since counts at once: the first has two again, those of others.
  for (const auto& choice : own) {
    if (choice.node == 0) table_.Ended(choice, 11);
  }
  EXPECT_EQ(table_.Choose(kAnswer, {}, 11).node, 0);
  EXPECT_EQ(table_.Choose(kAnswer, {}, 11).node, 0);
}

TEST_F(ReplicaTableTest, WhoAsksForMuchIsNotTakenToGetIt) {
  // All slots of the fast node are taken, and one waits: another one begins there in 2 x 100 tokens x 3 ms, takes 2.4 s, and 0.7 from the others; 3.3 s at the slow one.
  // Of 4000 tokens the wait would be next to nothing.
  table_.OnFigures(0, Generating("a", 1, 1, 9), 10, 10);
  table_.OnFigures(1, Generating("b", 1, 3.3), 10, 10);
  EXPECT_EQ(table_.Choose({"m", "", 5, 4000, 10}, {}, 10).node, 1);
}

TEST_F(ReplicaTableTest, SequencesOnANodeThatHasMeasuredNothingAreTakenForThoseOfTheSlowestOne) {
  table_.OnFigures(0, Generating("a", 1, 1, 3), 10, 10);
  NodeFigures fresh = Generating("b", 1, 1);
  fresh.models[0].step_s.clear();
  fresh.models[0].row_s = fresh.models[0].alone_s = 0;
  table_.OnFigures(1, fresh, 10, 10);
  // On the other it would take 1.6 s, and 0.3 from those that run there. What it asks for changes nothing.
  table_.OnRoundTrip(1, 0.001);
  EXPECT_EQ(table_.Choose({"m", "", 5, 4000, 10}, {}, 10).node, 1);
  EXPECT_EQ(table_.Choose({"m", "", 5, 4000, 10}, {}, 10).node, 1);
  EXPECT_EQ(table_.Choose({"m", "", 5, 4000, 10}, {}, 10).node, 1);
  EXPECT_EQ(table_.Choose({"m", "", 5, 4000, 10}, {}, 10).node, 0);
}

TEST_F(ReplicaTableTest, WhereANodeOfAVersionBeforeTellsNoStepsAllAreComparedByTheirBacklogs) {
  table_.OnFigures(0, Generating("a", 1, 1, 7), 10, 10);
  NodeFigures before = Generating("b", 1, 1, 1);
  before.models[0].step_s.clear();
  before.backlog_s = 0.9;
  table_.OnFigures(1, before, 10, 10);
  // 0.7 s and 0.9 s of backlog; by sequences it would be the second one, which has one of them.
  EXPECT_EQ(table_.Choose(kAnswer, {}, 10).node, 0);
}

TEST_F(ReplicaTableTest, WhereNobodyHasMeasuredAnythingTheNodesAreComparedByTheirSpeed) {
  NodeFigures fast = Figures("a", 1, 1, 0, 0), slow = Figures("b", 1, 1, 0, 0);
  fast.resources.gflops = 100;
  slow.resources.gflops = 25;
  table_.OnFigures(0, fast, 10, 10);
  table_.OnFigures(1, slow, 10, 10);
  table_.OnFigures(2, Figures("c", 1, 4, 10, 0), 10, 10);  // tells nothing, and is busy
  std::map<int, int> sent;
  for (int i = 0; i < 50; ++i) ++sent[table_.Choose(kOne, {}, 10).node];
  EXPECT_NEAR(sent[0], 40, 1);
  EXPECT_NEAR(sent[1], 10, 1);
}

TEST_F(ReplicaTableTest, ANodeThatHasMeasuredNothingIsTakenForTheSlowestOne) {
  table_.OnFigures(0, Figures("a", 1, 1, 0, 0), 10, 10);
  table_.OnFigures(1, Figures("b", 1, 1, 0, 0), 10, 10);
  std::map<int, int> sent;
  for (int i = 0; i < 10; ++i) ++sent[table_.Choose(kOne, {}, 10).node];
  EXPECT_EQ(sent[0], 5);
  EXPECT_EQ(sent[1], 5);
  // By now the first has computed something, and the others have not.
  table_.OnFigures(0, Figures("a", 2, 1, 0, 0.02), 11, 11);
  table_.OnFigures(2, Figures("c", 1, 1, 0, 0), 11, 11);
  const auto choice = table_.Choose(kOne, {true, true, false}, 11);
  EXPECT_EQ(choice.node, 2);
  const auto beside = table_.Choose(kOne, {false, true, false}, 11);
  EXPECT_DOUBLE_EQ(beside.work_s, 0.02);
}

TEST_F(ReplicaTableTest, ABusyNodeIsNotTakenForAFarOne) {
  const auto trip = [this] { return table_.Look(10)[1].round_trip_s; };
  table_.OnRoundTrip(1, 0.05);
  EXPECT_DOUBLE_EQ(trip(), 0.05);
  table_.OnRoundTrip(1, 0.001);
  for (size_t i = 1; i < ReplicaTable::kRoundTrips; ++i) {
    table_.OnRoundTrip(1, 0.06);
    EXPECT_DOUBLE_EQ(trip(), 0.001) << i;
  }
  // A way that has become longer is believed then.
  table_.OnRoundTrip(1, 0.06);
  EXPECT_DOUBLE_EQ(trip(), 0.06);
}

// 99th percentile of the latency of calls through one gateway, at 70 % of what its three unequal nodes can do. A message to a node that works waits for its turn there.
double LatencyAt70Percent(RouteRule rule, uint64_t seed) {
  constexpr int kCalls = 40'000;
  constexpr std::array<double, 3> kRow = {0.005, 0.010, 0.020};
  constexpr std::array<const char*, 3> kName = {"a", "b", "c"};
  constexpr double kWay = 0.0005, kTurn = 0.1, kTell = 0.2;
  ReplicaTable table(rule, seed, {"a", "b", "c"});
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> gap(0.7 * 350);
  std::uniform_real_distribution<double> part(0, 1);
  using End = std::pair<double, int>;  // when, and which of `choices`
  std::priority_queue<End, std::vector<End>, std::greater<>> ends;
  std::vector<ReplicaTable::Choice> choices;
  std::array<double, 3> idle_at = {10, 10, 10};
  std::vector<double> latencies;
  uint64_t sequence = 0;
  double now = 10, told = 0;
  for (int call = 0; call < kCalls; ++call) {
    now += gap(random);
    for (; !ends.empty() && ends.top().first <= now; ends.pop())
      table.Ended(choices[static_cast<size_t>(ends.top().second)], now);
    if (now - told > kTell) {
      told = now;
      ++sequence;
      for (int n = 0; n < 3; ++n) {
        const auto at = static_cast<size_t>(n);
        const double left = std::max(0.0, idle_at[at] - now);
        const double trip = 2 * kWay + (left > 0 ? kTurn * part(random) : 0);
        if (n > 0) table.OnRoundTrip(n, trip);
        table.OnFigures(n, Figures(kName[at], sequence, 1, left, kRow[at]),
                        n > 0 ? std::max(now - trip, 10.0) : now, now);
      }
    }
    const auto choice = table.Choose(kOne, {}, now);
    if (choice.node < 0) return 1e9;
    const auto at = static_cast<size_t>(choice.node);
    const double way = choice.node > 0 ? kWay : 0;
    idle_at[at] = std::max(idle_at[at], now + way) + kRow[at] * (0.8 + 0.4 * part(random));
    latencies.push_back(idle_at[at] + way - now);
    ends.emplace(idle_at[at] + way, static_cast<int>(choices.size()));
    choices.push_back(choice);
  }
  std::ranges::sort(latencies);
  return latencies[latencies.size() * 99 / 100];
}

TEST(ReplicaTableLatencyTest, AtSeventyPercentLoadTheUtilityKeepsUpWithLeastLoaded) {
  double ours = 0, theirs = 0;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    ours += LatencyAt70Percent(RouteRule::kUtility, seed);
    theirs += LatencyAt70Percent(RouteRule::kLeastLoaded, seed);
  }
  EXPECT_LE(ours, theirs);
}

}  // namespace
}  // namespace evenkeel
