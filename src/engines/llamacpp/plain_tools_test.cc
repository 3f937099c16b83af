#include "engines/llamacpp/plain_tools.h"

#include <chat.h>
#include <gtest/gtest.h>
#include <json-schema-to-grammar.h>

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
  ASSERT_EQ(one["anyOf"].size(), 1u);
  EXPECT_EQ(one["anyOf"][0]["properties"]["name"]["const"], "look");
  const Json both = Json::parse(PlainTools({look, go}).Schema());
  ASSERT_EQ(both["anyOf"].size(), 2u);
  EXPECT_EQ(both["anyOf"][1]["properties"]["arguments"]["$ref"], "#/$defs/arguments1");
  EXPECT_EQ(both["$defs"]["arguments1"]["type"], "object");
  EXPECT_NE(PlainTools({look}).Words().find("looks"), std::string::npos);
}

// Both have a definition of the same name, and the answer's properties keep their order.
TEST(PlainToolsTest, ReferencesStayWithinTheirOwnSchema) {
  const common_chat_tool look{"look", "",
                              R"({"type":"object","properties":{"at":{"$ref":"#/$defs/place"}},
      "$defs":{"place":{"enum":["sky","sea"]}}})"};
  const std::string answer =
      R"({"type":"object","properties":{"z":{"$ref":"#/$defs/place"},"a":{"type":"null"}},
      "required":["z","a"],"additionalProperties":false,"$defs":{"place":{"enum":[1,2]}}})";
  const std::string schema = PlainTools({look}).Schema(answer);
  const Json parsed = Json::parse(schema);
  ASSERT_EQ(parsed["anyOf"].size(), 2u);
  EXPECT_EQ(parsed["$defs"]["arguments0"]["properties"]["at"]["$ref"],
            "#/$defs/arguments0/$defs/place");
  EXPECT_EQ(parsed["$defs"]["answer"]["properties"]["z"]["$ref"], "#/$defs/answer/$defs/place");
  EXPECT_LT(schema.find("\"z\":"), schema.find("\"a\":"));
  const std::string grammar = json_schema_to_grammar(common_json::parse(schema));
  EXPECT_NE(grammar.find("sky"), std::string::npos) << grammar;
  EXPECT_NE(grammar.find("\"1\""), std::string::npos) << grammar;
}

}  // namespace
}  // namespace evenkeel
