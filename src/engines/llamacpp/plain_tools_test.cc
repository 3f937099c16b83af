#include "engines/llamacpp/plain_tools.h"

#include <chat.h>
#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using Json = nlohmann::json;

const Json kParser = {{"plain_tools", {"look", "go"}}};

Json Parse(const std::string& text, bool partial) {
  return Json::parse(ParsePlainTools(kParser, 7, text, partial));
}

TEST(PlainToolsTest, ACallIsHeldBackUntilItIsWhole) {
  EXPECT_EQ(Parse(" {\"name\": \"lo", true)["content"], "");
  const Json whole = Parse(R"({"name": "look", "arguments": {"at": "sky"}})", false);
  EXPECT_EQ(whole["id"], 7);
  EXPECT_EQ(whole["content"], "");
  EXPECT_EQ(whole["tool_calls"][0]["name"], "look");
  EXPECT_EQ(Json::parse(whole["tool_calls"][0]["arguments"].get<std::string>())["at"], "sky");
}

TEST(PlainToolsTest, WhatIsNoCallIsText) {
  EXPECT_EQ(Parse("Hello", true)["content"], "Hello");
  for (const char* text : {"{\"name\": \"fly\"}", "{", "{\"name\": 3}", "{}"}) {
    const Json parsed = Parse(text, false);
    EXPECT_EQ(parsed["content"], text);
    EXPECT_TRUE(parsed["tool_calls"].empty());
  }
}

TEST(PlainToolsTest, TheSchemaNamesEachTool) {
  const common_chat_tool look{"look", "looks",
                              R"({"type":"object","properties":{"at":{"type":"string"}}})"};
  const common_chat_tool go{"go", "", ""};
  const Json one = Json::parse(PlainTools({look}).Schema());
  EXPECT_EQ(one["properties"]["name"]["const"], "look");
  const Json both = Json::parse(PlainTools({look, go}).Schema());
  ASSERT_EQ(both["anyOf"].size(), 2u);
  EXPECT_EQ(both["anyOf"][1]["properties"]["arguments"]["type"], "object");
  EXPECT_NE(PlainTools({look}).Words().find("looks"), std::string::npos);
}

}  // namespace
}  // namespace evenkeel
