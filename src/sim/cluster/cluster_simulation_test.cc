#include "sim/cluster/cluster_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "sim/cluster/cluster_report.h"
#include "sim/cluster/scenario_file.h"

namespace evenkeel::sim {
namespace {

const ReadFile kNoFiles = [](const std::string& path) -> Result<std::string> {
  return NotFound("no file {}", path);
};

ClusterScenario Unequal(double load, const std::string& more = "") {
  // Capacities of 0.25, 0.5 and 1; work of 10 ms.
  const std::string text = fmt::format(
      R"({{"nodes":[{{"name":"a","capacity":0.25}},{{"name":"b","capacity":0.5}},{{"name":"c","capacity":1}}],"arrivals":"poisson:{}","work":"10ms","work_cv":0.5{}}})",
      load * 175, more);
  auto scenario = ParseScenario(text, kNoFiles);
  EXPECT_TRUE(scenario.ok()) << scenario.status().ToString();
  return *scenario;
}

ClusterOutcome Play(const ClusterScenario& scenario, RouteRule rule, double seconds = 120) {
  ClusterOptions options;
  options.rule = rule;
  options.seconds = seconds;
  return SimulateCluster(scenario, options);
}

TEST(ClusterSimulationTest, EveryRequestIsAnsweredOrCounted) {
  for (const RouteRule rule : RouteRules()) {
    const ClusterOutcome outcome = Play(Unequal(0.6), rule);
    EXPECT_EQ(outcome.arrived, outcome.answered + outcome.unanswered);
    EXPECT_EQ(outcome.latency.total(), outcome.answered);
    EXPECT_GT(outcome.answered, 10'000u);
    EXPECT_GE(outcome.answered, outcome.within);
  }
}

TEST(ClusterSimulationTest, IsTheSameEachTime) {
  const auto once = [] {
    return ToJson(Unequal(0.7), {{RouteRule::kUtility, Play(Unequal(0.7), RouteRule::kUtility)}});
  };
  EXPECT_EQ(once(), once());
}

// M/M/1 and D: one node, exponential-free: a known mean wait. Pollaczek and Khinchine: W = rho s (1 + cv^2) / (2 (1 - rho)).
TEST(ClusterSimulationTest, OneNodeWaitsAsQueueingTheorySays) {
  const auto scenario = ParseScenario(
      R"({"nodes":[{"name":"a","capacity":1}],"arrivals":"poisson:70","work":"10ms","work_cv":1})",
      kNoFiles);
  ASSERT_TRUE(scenario.ok());
  const ClusterOutcome outcome = Play(*scenario, RouteRule::kRandom, 4000);
  EXPECT_NEAR(outcome.utilisation[0], 0.7, 0.01);
  EXPECT_NEAR(outcome.latency.mean_s(), 0.010 + 0.7 * 0.010 * 2 / (2 * 0.3), 0.003);
}

TEST(ClusterSimulationTest, TheUtilityBeatsWhatKnowsLess) {
  const ClusterScenario scenario = Unequal(0.7);
  const double ours = Play(scenario, RouteRule::kUtility).latency.QuantileSeconds(0.99);
  EXPECT_LT(ours, 0.8 * Play(scenario, RouteRule::kWeighted).latency.QuantileSeconds(0.99));
  EXPECT_LT(ours, 0.8 * Play(scenario, RouteRule::kRandom).latency.QuantileSeconds(0.99));
  EXPECT_LE(ours, Play(scenario, RouteRule::kLeastLoaded).latency.QuantileSeconds(0.99));
}

TEST(ClusterSimulationTest, AFailedNodeLosesNothing) {
  const ClusterScenario scenario = Unequal(
      0.3,
      R"(,"events":[{"at":"30s","node":"c","what":"fail"},{"at":"60s","node":"c","what":"return"}])");
  for (const RouteRule rule : RouteRules()) {
    const ClusterOutcome outcome = Play(scenario, rule);
    EXPECT_GT(outcome.retried, 0u);
    // What is unanswered at the end is under way.
    EXPECT_LT(outcome.unanswered, 60u) << NameOf(rule);
  }
}

// The hold of node_health.h, from its first figures on.
TEST(ClusterSimulationTest, ANodeThatReturnsIsHeldBackForAWhile) {
  const ClusterScenario scenario = Unequal(
      0.3,
      R"(,"events":[{"at":"30s","node":"c","what":"fail"},{"at":"40s","node":"c","what":"return"}])");
  ClusterOptions options;
  options.seconds = 80;
  options.plot_bins = 1600;  // of 50 ms
  const ClusterOutcome outcome = SimulateCluster(scenario, options);
  // The share of the time in which c has something to do.
  const auto busy = [&](double from, double to) {
    int bins = 0, with = 0;
    for (size_t bin = 0; bin < outcome.levels.size(); ++bin) {
      const double at = static_cast<double>(bin) * options.seconds / options.plot_bins;
      if (at < from || at >= to) continue;
      ++bins;
      with += outcome.levels[bin][2] > 0 ? 1 : 0;
    }
    return static_cast<double>(with) / bins;
  };
  EXPECT_EQ(busy(30.1, 40), 0);
  // Only what comes to it as a gateway, which is a third.
  EXPECT_LT(busy(41, 46), 0.6 * busy(10, 30));
  EXPECT_GT(busy(50, 70), 0.8 * busy(10, 30));
}

// Three of five, or two, fail; one of those that stay becomes slow meanwhile, and has to give work away.
TEST(ClusterSimulationTest, NothingMovesWhileManyNodesAreGone) {
  const auto play = [](const std::string& third) {
    const std::string text = fmt::format(
        R"({{"nodes":[{{"name":"n","capacity":1,"count":5}}],"arrivals":"poisson:120","work":"10ms","work_cv":1,"events":[
             {{"at":"20s","node":"n-1","what":"fail"}},{{"at":"20s","node":"n-2","what":"fail"}},{{"at":"20s","node":"{}","what":"fail"}},
             {{"at":"25s","node":"n-4","what":"slow","factor":0.1}}]}})",
        third);
    const auto scenario = ParseScenario(text, kNoFiles);
    EXPECT_TRUE(scenario.ok()) << scenario.status().ToString();
    return Play(*scenario, RouteRule::kWeighted, 60);
  };
  const ClusterOutcome three = play("n-3"), two = play("n-2");
  EXPECT_GT(three.frozen_s, 30);
  EXPECT_EQ(two.frozen_s, 0);
  EXPECT_GT(two.moved, 0u);
  EXPECT_EQ(three.moved, 0u);
}

TEST(ClusterSimulationTest, BalanceEmptiesANodeThatBecameSlow) {
  const std::string slow = R"(,"events":[{"at":"20s","node":"c","what":"slow","factor":0.1}])";
  const ClusterOutcome with = Play(Unequal(0.4, slow), RouteRule::kWeighted);
  const ClusterOutcome without =
      Play(Unequal(0.4, slow + R"(,"balance":false)"), RouteRule::kWeighted);
  EXPECT_GT(with.moved, 0u);
  EXPECT_EQ(without.moved, 0u);
  EXPECT_GT(with.answered, without.answered);
  // The method's makes loads alike, not loads for their capacities: it asks more of the small one than it can do.
  const ClusterOutcome method =
      Play(Unequal(0.4, slow + R"(,"balance":"method")"), RouteRule::kWeighted);
  EXPECT_GT(method.moved, 0u);
  EXPECT_GT(method.answered, without.answered);
  EXPECT_NE(method.moved, with.moved);
}

TEST(ScenarioFileTest, WhatIsWrongIsNamedWithItsPlace) {
  const auto expect_refused = [](const std::string& text, const std::string& words) {
    const auto scenario = ParseScenario(text, kNoFiles);
    ASSERT_FALSE(scenario.ok()) << text;
    EXPECT_NE(scenario.status().message().find(words), std::string::npos)
        << scenario.status().message();
  };
  const std::string node = R"("nodes":[{"name":"a","capacity":1}])";
  expect_refused("{}", "'nodes' is missing");
  expect_refused("[]", "expected a JSON object");
  expect_refused("{" + node + "}", "'arrivals' is missing");
  expect_refused("{" + node + R"(,"arrivals":"poisson:5"})", "'work' is missing");
  expect_refused("{" + node + R"(,"arrivals":"poisson:-5","work":"1ms"})", "arrivals: ");
  expect_refused("{" + node + R"(,"arrivals":"trace:x","work":"1ms"})", "no file x");
  expect_refused("{" + node + R"(,"arrivals":"poisson:5","work":"0s"})", "work: expected more");
  expect_refused("{" + node + R"(,"arrivals":"poisson:5","work":"1ms","balanse":true})",
                 "did you mean 'balance'?");
  expect_refused("{" + node + R"(,"arrivals":"poisson:5","work":"1ms","balance":1})",
                 "the scenario.balance: expected true, false, auto, method or off, got '1'");
  expect_refused("{" + node + R"(,"arrivals":"poisson:5","work":"1ms","balance":"on"})",
                 "the scenario.balance: expected auto, method or off, got 'on'");
  expect_refused("{" + node + R"(,"arrivals":"poisson:5","work":"1ms","age":1.5})",
                 "the scenario.age: expected a whole number");
  expect_refused(R"({"nodes":[{"name":"a","capacity":0}],"arrivals":"poisson:5","work":"1ms"})",
                 "nodes[0].capacity");
  expect_refused(
      "{" + node +
          R"(,"arrivals":"poisson:5","work":"1ms","events":[{"at":"1s","node":"b","what":"fail"}]})",
      "events[0].node: there is no node 'b'");
  expect_refused(
      "{" + node +
          R"(,"arrivals":"poisson:5","work":"1ms","events":[{"at":"1s","node":"a","what":"melt"}]})",
      "events[0].what");
  expect_refused(
      R"({"nodes":[{"name":"a","capacity":1,"count":600},{"name":"b","capacity":1,"count":600}],"arrivals":"poisson:5","work":"1ms"})",
      "at most 1000");
}

TEST(ClusterReportTest, ThePageShowsEachRule) {
  ClusterOptions options;
  options.seconds = 20;
  options.plot_bins = 50;
  const ClusterScenario scenario = Unequal(0.5);
  const ClusterOutcome outcome = SimulateCluster(scenario, options);
  ASSERT_EQ(outcome.levels.size(), 50u);
  const std::string page = ClusterPage(scenario, {{RouteRule::kUtility, outcome}}, 20);
  EXPECT_NE(page.find("utility: until each node"), std::string::npos);
  EXPECT_EQ(page.find("http"), page.find("http://www.w3.org"));
}

// Of 300 nodes one is behind, in the second of two spans: the map shows it, though no line does.
TEST(ClusterReportTest, AllOfManyNodesAreInTheMap) {
  ClusterScenario scenario = Unequal(0.5);
  while (scenario.nodes.size() < 300) scenario.nodes.push_back(scenario.nodes.front());
  ClusterOutcome outcome;
  outcome.levels.assign(2, std::vector<double>(scenario.nodes.size(), 0));
  const std::string idle = ClusterPage(scenario, {{RouteRule::kUtility, outcome}}, 20);
  outcome.levels[1][150] = 50;
  const std::string page = ClusterPage(scenario, {{RouteRule::kUtility, outcome}}, 20);
  EXPECT_NE(page.find("all 300 nodes over 20 s"), std::string::npos);
  EXPECT_NE(page.find("a row is the busiest"), std::string::npos);
  EXPECT_EQ(idle.find("stroke='#a50f15'"), std::string::npos);
  const size_t shade = page.find("stroke='#a50f15'");
  ASSERT_NE(shade, std::string::npos);
  EXPECT_NE(page.find("d='M490.0 ", shade), std::string::npos);  // the second half's beginning
}

}  // namespace
}  // namespace evenkeel::sim
