#include "cluster/live/measured_costs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "cluster/live/figures_test_kit.h"

namespace evenkeel {
namespace {

// So many looks, in each of which every model was measured anew.
void Measure(MeasuredCosts& costs, std::vector<ReplicaTable::NodeView>& nodes, int looks,
             double* now_s) {
  for (int i = 0; i < looks; ++i) {
    for (auto& node : nodes) {
      for (ModelFigures& model : node.figures.models) ++model.done;
    }
    costs.Look(nodes, *now_s += 1);
  }
}

TEST(MeasuredCostsTest, WhatIsMeasuredIsTheCostAndItsFactorConvergesToIt) {
  MeasuredCosts costs;
  // b is half as fast as its vector says.
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 1, 50)};
  Serve(nodes[0], "m", 0.01, 10);
  Serve(nodes[0], "n", 0.02, 10);
  double now_s = 0;
  Measure(costs, nodes, 20, &now_s);
  Serve(nodes[1], "m", 0.02, 10);
  double last = 1;
  for (int i = 0; i < 6; ++i) {
    Measure(costs, nodes, 40, &now_s);
    const auto pair = costs.Of("m", nodes[1], now_s);
    ASSERT_TRUE(pair.has_value());
    EXPECT_NEAR(pair->predicted_s, 0.01, 1e-9);
    EXPECT_NEAR(pair->measured_s, 0.02, 1e-9);
    const double miss = std::abs(std::log(pair->factor / 2));
    EXPECT_LE(miss, last);
    last = miss;
  }
  EXPECT_LT(last, 0.02);
  EXPECT_NEAR(costs.WorkOf("m"), 0.5, 1e-9) << "GFLOP: 10 ms at 50 GFLOP/s a core";
}

TEST(MeasuredCostsTest, APairThatWasNeverMeasuredIsPredictedFromTheNodesOtherModels) {
  // Nodes have a factor that their vectors do not tell; every model is measured on half of the nodes.
  std::mt19937_64 random(7);
  std::normal_distribution<double> scatter(0, 0.7);
  constexpr int kNodes = 6, kModels = 12;
  std::vector<ReplicaTable::NodeView> nodes;
  std::vector<double> off, work;
  for (int k = 0; k < kNodes; ++k) {
    nodes.push_back(ViewOf(std::string(1, static_cast<char>('a' + k)), 2, 100));
    off.push_back(std::exp(scatter(random)));
  }
  for (int j = 0; j < kModels; ++j) work.push_back(0.01 * std::exp(scatter(random)));
  const auto name = [](int j) { return "m" + std::to_string(j); };
  for (int j = 0; j < kModels; ++j) {
    for (int k = 0; k < kNodes; ++k) {
      if ((j + k) % 2 == 0)
        Serve(nodes[static_cast<size_t>(k)], name(j),
              work[static_cast<size_t>(j)] * off[static_cast<size_t>(k)], 1);
    }
  }
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 50, &now_s);
  double corrected = 0, plain = 0;
  for (int j = 0; j < kModels; ++j) {
    for (int k = 0; k < kNodes; ++k) {
      if ((j + k) % 2 == 0) continue;
      const auto pair = costs.Of(name(j), nodes[static_cast<size_t>(k)], now_s);
      ASSERT_TRUE(pair.has_value());
      EXPECT_EQ(pair->measured_s, 0);
      const double truth = work[static_cast<size_t>(j)] * off[static_cast<size_t>(k)];
      corrected += std::abs(std::log(pair->predicted_s * pair->factor / truth));
      plain += std::abs(std::log(pair->predicted_s / truth));
    }
  }
  EXPECT_LT(corrected, 0.5 * plain);
}

TEST(MeasuredCostsTest, FewMeasurementsSayLittle) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
  Serve(nodes[0], "m", 0.01, 10);
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 20, &now_s);
  Serve(nodes[1], "m", 0.1, 10);
  Serve(nodes[0], "other", 0.01, 10);
  Measure(costs, nodes, 1, &now_s);
  const double once = costs.Of("other", nodes[1], now_s)->factor;
  Measure(costs, nodes, 50, &now_s);
  const double often = costs.Of("other", nodes[1], now_s)->factor;
  EXPECT_GT(once, 1);
  EXPECT_LT(once, 2);
  EXPECT_GT(often, 3) << "node b is ten times as slow as it says, by one model";
}

TEST(MeasuredCostsTest, ANodeThatBecomesSlowDoesNotMakeItsModelsHeavyElsewhere) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
  for (const char* model : {"m", "n", "o"}) Serve(nodes[0], model, 0.01, 10);
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 30, &now_s);
  for (ModelFigures& model : nodes[0].figures.models) model.row_s = 0.1;
  Measure(costs, nodes, 20, &now_s);
  EXPECT_NEAR(costs.Of("m", nodes[0], now_s)->best_s(), 0.1, 0.001);
  EXPECT_LT(costs.Of("m", nodes[1], now_s)->best_s(), 0.015);
}

TEST(MeasuredCostsTest, AFigureThatStandsStillIsNoMeasurement) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100)};
  Serve(nodes[0], "m", 0.01, 10);
  MeasuredCosts costs;
  for (int i = 0; i < 50; ++i) costs.Look(nodes, i);
  EXPECT_EQ(costs.Of("m", nodes[0], 50)->samples, 1);
  EXPECT_EQ(costs.Of("m", nodes[0], 50)->age_s, 50);
  nodes[0].figures.incarnation = 2;  // it was started again, and told the same
  costs.Look(nodes, 51);
  EXPECT_EQ(costs.Of("m", nodes[0], 51)->samples, 2);
}

TEST(MeasuredCostsTest, WhatIsOldCountsLessAndIsForgottenInTheEnd) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
  Serve(nodes[0], "m", 0.01, 10);
  Serve(nodes[1], "m", 0.04, 10);
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 50, &now_s);
  nodes[1].figures.models.clear();
  EXPECT_GT(costs.Of("m", nodes[1], now_s)->samples, 0);
  now_s += 2 * MeasuredCosts::kForget;
  Measure(costs, nodes, 1, &now_s);
  EXPECT_EQ(costs.Of("m", nodes[1], now_s)->samples, 0);
  EXPECT_EQ(costs.Of("m", nodes[1], now_s)->measured_s, 0);
}

TEST(MeasuredCostsTest, SuspectNodesAndStrangeFiguresSayNothing) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 2, 0),
                                            ViewOf("c", 2, 100)};
  Serve(nodes[0], "m", 0.01, 10);
  nodes[0].suspect = true;
  Serve(nodes[1], "n", 0.01, 10);
  Serve(nodes[2], "zero", 0, 10);
  Serve(nodes[2], "none", std::nan(""), 10);
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 20, &now_s);
  for (const char* model : {"m", "n", "zero", "none"}) {
    EXPECT_EQ(costs.WorkOf(model), 0) << model;
    EXPECT_FALSE(costs.Of(model, nodes[2], now_s).has_value()) << model;
  }
}

TEST(MeasuredCostsTest, AnotherModelOfTheSameNameIsLearntAnew) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100)};
  Serve(nodes[0], "m", 0.01, 10);
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 30, &now_s);
  ModelOn(nodes[0]).signature = 8;
  ModelOn(nodes[0]).row_s = 0.05;
  Measure(costs, nodes, 1, &now_s);
  EXPECT_EQ(costs.Of("m", nodes[0], now_s)->samples, 1);
  EXPECT_NEAR(costs.WorkOf("m"), 2.5, 1e-9);
}

TEST(MeasuredCostsTest, OfTwoVersionsTheNewestIsLearntAndNothingIsLearntOfAStandstill) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
  Serve(nodes[0], "m", 0.01, 10);
  ModelFigures newer = ModelOn(nodes[0]);
  newer.version = "10";
  newer.row_s = 0.05;
  ModelOn(nodes[0]).version = "9";
  nodes[0].figures.models.push_back(newer);
  // The other node has not gone over yet, to a version that answers otherwise.
  Serve(nodes[1], "m", 0.03, 10);
  ModelOn(nodes[1]).version = "9";
  ModelOn(nodes[1]).signature = newer.signature + 1;
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 30, &now_s);
  EXPECT_EQ(costs.Of("m", nodes[0], now_s)->samples, 30);
  EXPECT_NEAR(costs.Of("m", nodes[0], now_s)->best_s(), 0.05, 1e-9);
  EXPECT_EQ(costs.Of("m", nodes[1], now_s)->samples, 0);
  // Whoever looks, and at whom first.
  ModelOn(nodes[1]).version = "10";
  for (const bool turned : {false, true}) {
    auto seen = nodes;
    if (turned) std::swap(seen[0], seen[1]);
    MeasuredCosts other;
    double other_s = 0;
    Measure(other, seen, 5, &other_s);
    EXPECT_EQ(other.Of("m", nodes[1], other_s)->samples, 5) << turned;
    EXPECT_EQ(other.Of("m", nodes[0], other_s)->samples, 0) << turned;
  }
  ModelOn(nodes[1]).version = "9";
  for (int i = 0; i < 50; ++i) costs.Look(nodes, now_s += 1);
  EXPECT_EQ(costs.Of("m", nodes[0], now_s)->samples, 30);
  EXPECT_EQ(costs.Of("m", nodes[0], now_s)->age_s, 50);
}

}  // namespace
}  // namespace evenkeel
