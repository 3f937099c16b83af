#include "server/plan_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace evenkeel {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

ReplicaTable::NodeView Node(const std::string& name, std::vector<std::string> models,
                            bool known = true) {
  ReplicaTable::NodeView node;
  node.name = name;
  node.known = known;
  node.figures.free_memory_bytes = 100;
  for (const std::string& model : models) {
    ModelFigures figures;
    figures.name = model;
    figures.memory_bytes = 10;
    node.figures.models.push_back(figures);
  }
  return node;
}

TEST(ReadPlacementTest, ModelsStandWithWhereTheyServeAndWhereTheyShall) {
  const std::vector<ReplicaTable::NodeView> nodes = {Node("a", {"chat", "other"}), Node("b", {}),
                                                     Node("away", {"chat"}, /*known=*/false)};
  const auto cluster = ReadPlacement(json::parse(R"({"a": [], "b/CUDA": ["chat"]})"), nodes);
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  ASSERT_EQ(cluster->models.size(), 1U);
  EXPECT_EQ(cluster->models[0].name, "chat");
  EXPECT_EQ(cluster->models[0].memory_bytes, 10);
  EXPECT_THAT(cluster->models[0].serving, ElementsAre("a"));
  EXPECT_THAT(cluster->models[0].wanted, ElementsAre("b"));
  EXPECT_EQ(cluster->nodes.size(), 2U);
}

TEST(ReadPlacementTest, WhatIsNoPlanIsRefused) {
  const std::vector<ReplicaTable::NodeView> nodes = {Node("a", {"chat"})};
  for (const char* text : {"3", "[]", R"({"a": "chat"})", R"({"a": [1]})", R"({"a": ["gone"]})"}) {
    EXPECT_EQ(ReadPlacement(json::parse(text), nodes).status().code(), Code::kInvalidArgument)
        << text;
  }
  EXPECT_THAT(ReadPlacement(json::parse(R"({"a": ["gone"]})"), nodes).status().message(),
              HasSubstr("'gone'"));
}

}  // namespace
}  // namespace evenkeel
