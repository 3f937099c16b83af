#include "cluster/live/learnt_document.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cluster/cluster_file.h"
#include "cluster/live/cluster_document.h"
#include "cluster/live/figures_test_kit.h"

namespace evenkeel {
namespace {

double NoRate(std::string_view /*model*/) { return 0; }

void Measure(MeasuredCosts& costs, std::vector<ReplicaTable::NodeView>& nodes, int looks,
             double* now_s) {
  for (int i = 0; i < looks; ++i) {
    for (auto& node : nodes) {
      for (ModelFigures& model : node.figures.models) ++model.done;
    }
    costs.Look(nodes, *now_s += 1);
  }
}

TEST(LearntDocumentTest, ThePlannerGetsWorkMeasurementsAndFactors) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 1, 50)};
  Serve(nodes[0], "m", 0.01, 30);
  Serve(nodes[0], "n", 0.01, 10);
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 40, &now_s);
  // n was on b for a while, where it takes twice what was expected.
  Serve(nodes[1], "n", 0.02, 10);
  Measure(costs, nodes, 200, &now_s);
  nodes[1].figures.models.clear();

  nlohmann::json document = ClusterDocument(nodes);
  AddLearnt(costs, NoRate, nodes, now_s, &document);
  const auto file = ParseClusterFile(document.dump());
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  ASSERT_EQ(file->graph.tasks.size(), 2);
  EXPECT_NEAR(file->graph.tasks[0].gflop, 30 * 0.5, 1e-6);
  // m on a, n on a, and n on b from before.
  ASSERT_EQ(file->measured.size(), 3);
  EXPECT_EQ(file->measured[2].place, "b");
  EXPECT_NEAR(file->measured[2].seconds, 10 * 0.02, 1e-6);
  ASSERT_EQ(file->corrections.size(), 2) << "m and n on b; on a all is as predicted";
  EXPECT_GT(file->corrections[0].factor, 1.2) << "m was never on b";
  EXPECT_NEAR(file->corrections[1].factor, 2, 0.1);
  const auto& told = document["corrections"][1];
  EXPECT_NEAR(told["predicted"], 10 * 0.01, 1e-6);
  EXPECT_NEAR(told["measured"], 10 * 0.02, 1e-6);
  EXPECT_EQ(told["samples"], 200);
}

TEST(LearntDocumentTest, ASlowNodeMakesNoModelHeavy) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 2, 100)};
  for (const char* model : {"m", "n", "o"}) Serve(nodes[0], model, 0.01, 30);
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 40, &now_s);
  for (ModelFigures& model : nodes[0].figures.models) model.row_s = 0.1;
  Measure(costs, nodes, 40, &now_s);
  nlohmann::json plain = ClusterDocument(nodes);
  nlohmann::json document = plain;
  AddLearnt(costs, NoRate, nodes, now_s, &document);
  EXPECT_NEAR(plain["tasks"][0]["gflop"], 150, 1e-6);
  EXPECT_NEAR(document["tasks"][0]["gflop"], 15, 1e-6);
  EXPECT_NEAR(document["measured"][0]["seconds"], 1.5, 0.05);
}

TEST(LearntDocumentTest, RatesAreThoseThatWereLearntWhereTheyWere) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100)};
  Serve(nodes[0], "m", 0.01, 30);
  nodes[0].figures.models[0].call_rows = 4;
  MeasuredCosts costs;
  double now_s = 0;
  Measure(costs, nodes, 40, &now_s);
  nlohmann::json document = ClusterDocument(nodes);
  AddLearnt(
      costs, [](std::string_view) { return 10.0; }, nodes, now_s, &document);
  EXPECT_NEAR(document["tasks"][0]["gflop"], 10 * 4 * 0.5, 1e-6);
}

TEST(LearntDocumentTest, WhatNothingWasLearntOfStaysAsItIs) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100)};
  Serve(nodes[0], "m", 0.01, 30);
  nlohmann::json document = ClusterDocument(nodes);
  const nlohmann::json before = document;
  AddLearnt(MeasuredCosts(), NoRate, nodes, 0, &document);
  EXPECT_EQ(document, before);
}

}  // namespace
}  // namespace evenkeel
