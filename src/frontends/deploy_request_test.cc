#include "frontends/deploy_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DeployRequestTest, SaysWhichModelAndWhere) {
  const auto plain = ParseDeployRequest(R"({"model": "chat"})");
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  EXPECT_EQ(plain->model, "chat");
  EXPECT_TRUE(plain->nodes.empty());
  EXPECT_EQ(plain->replicas, 0);
  EXPECT_THAT(ParseDeployRequest(R"({"model": "chat", "nodes": ["a", "b"]})")->nodes,
              ElementsAre("a", "b"));
  EXPECT_EQ(ParseDeployRequest(R"({"model": "chat", "replicas": 2, "why": "x"})")->replicas, 2);
}

TEST(DeployRequestTest, WhatIsWrongIsNamed) {
  for (const auto& [body, words] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "JSON"},
           {"[]", "object"},
           {"{}", "'model'"},
           {R"({"model": 3})", "body.model"},
           {R"({"model": ""})", "body.model"},
           {R"({"model": "m", "node": ["a"]})", "did you mean 'nodes'"},
           {R"({"model": "m", "nodes": "a"})", "nodes"},
           {R"({"model": "m", "nodes": []})", "1 to 1000"},
           {R"({"model": "m", "nodes": [1]})", "names"},
           {R"({"model": "m", "replicas": 0})", "1 to 1000"},
           {R"({"model": "m", "replicas": 1.5})", "whole"},
           {R"({"model": "m", "replicas": 1, "nodes": ["a"]})", "both"},
           {R"({"model": "m", "model": "n"})", "twice"}}) {
    const auto request = ParseDeployRequest(body);
    EXPECT_EQ(request.status().code(), Code::kInvalidArgument) << body;
    EXPECT_THAT(request.status().message(), HasSubstr(words)) << body;
  }
  EXPECT_EQ(ParseDeployRequest(std::string(70'000, ' ')).status().code(), Code::kTooLarge);
}

TEST(UndeployRequestTest, NodesAreNeeded) {
  const auto request =
      ParseUndeployRequest(R"({"model": "m", "nodes": ["a"], "keep_files": true, "force": true})");
  ASSERT_TRUE(request.ok()) << request.status().message();
  EXPECT_TRUE(request->keep_files);
  EXPECT_TRUE(request->force);
  EXPECT_THAT(ParseUndeployRequest(R"({"model": "m"})").status().message(), HasSubstr("'nodes'"));
  EXPECT_FALSE(ParseUndeployRequest(R"({"model": "m", "nodes": ["a"], "force": 1})").ok());
}

TEST(DeployRequestTest, WhatAPlanOrdersCarriesItsStamp) {
  const auto people = ParseDeployRequest(R"({"model": "m"})");
  EXPECT_FALSE(people->by.plan);
  const auto unstored = ParseUndeployRequest(R"({"model": "m", "nodes": ["a"], "by_plan": true})");
  EXPECT_TRUE(unstored->by.plan);
  EXPECT_FALSE(unstored->by.mark);
  const auto stored =
      ParseDeployRequest(R"({"model": "m", "plan": {"history": 0, "term": 12, "revision": 15}})");
  ASSERT_TRUE(stored.ok()) << stored.status().message();
  EXPECT_TRUE(stored->by.plan);
  EXPECT_EQ(stored->by.mark, (PlanMark{0, 12, 15}));
  for (const char* plan :
       {"3", "{}", R"({"history": 0, "term": 1})", R"({"term": 0, "revision": 2})",
        R"({"term": 1, "revision": 2, "x": 1})", R"({"term": "1", "revision": 2})"}) {
    const std::string body = std::string(R"({"model": "m", "nodes": ["a"], "plan": )") + plan + "}";
    for (const Status& status :
         {ParseDeployRequest(body).status(), ParseUndeployRequest(body).status()}) {
      EXPECT_EQ(status.code(), Code::kInvalidArgument) << body;
      EXPECT_THAT(status.message(), HasSubstr("plan")) << body;
    }
  }
}

TEST(PlanTextTest, APlanPlacesModels) {
  EXPECT_TRUE(CheckPlanText(R"({"placement": {"a": ["m"], "b": []}, "why": "x"})").ok());
  for (const char* body : {"", "{}", R"({"placement": []})", R"({"placement": {"a": "m"}})",
                           R"({"placement": {"a": [1]}})"}) {
    EXPECT_EQ(CheckPlanText(body).status().code(), Code::kInvalidArgument) << body;
  }
  EXPECT_EQ(CheckPlanText(std::string(600'000, ' ')).status().code(), Code::kTooLarge);
}

}  // namespace
}  // namespace evenkeel
