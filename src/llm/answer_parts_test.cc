#include "llm/answer_parts.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

ParsedAnswer Parsed(std::string content, std::vector<ParsedAnswer::ToolCall> calls = {}) {
  ParsedAnswer parsed;
  parsed.content = std::move(content);
  parsed.tool_calls = std::move(calls);
  return parsed;
}

TEST(AnswerPartsTest, TellsOnlyWhatIsNew) {
  AnswerParts parts("{}");
  EXPECT_EQ(parts.Update(Parsed("Hel")).text, "Hel");
  EXPECT_EQ(parts.Update(Parsed("Hello")).text, "lo");
  EXPECT_EQ(parts.Update(Parsed("Hello")).text, "");
}

TEST(AnswerPartsTest, WhatIsTakenBackStaysTold) {
  AnswerParts parts("{}");
  EXPECT_EQ(parts.Update(Parsed("abc")).text, "abc");
  EXPECT_EQ(parts.Update(Parsed("ab")).text, "");
  EXPECT_EQ(parts.Update(Parsed("abcd")).text, "d");
}

TEST(AnswerPartsTest, AToolCallHasItsIdAndNameOnceAndThenArguments) {
  AnswerParts parts("{}");
  EXPECT_TRUE(parts.Update(Parsed("", {{"", "", ""}})).tool_calls.empty());
  const auto first = parts.Update(Parsed("", {{"", "look", "{\"a\""}})).tool_calls;
  ASSERT_EQ(first.size(), 1u);
  EXPECT_TRUE(first[0].id.starts_with("call_"));
  EXPECT_EQ(first[0].name, "look");
  EXPECT_EQ(first[0].arguments, "{\"a\"");
  const auto second =
      parts.Update(Parsed("", {{"", "look", "{\"a\":1}"}, {"x", "go", ""}})).tool_calls;
  ASSERT_EQ(second.size(), 2u);
  EXPECT_TRUE(second[0].id.empty() && second[0].name.empty());
  EXPECT_EQ(second[0].arguments, ":1}");
  EXPECT_EQ(second[1].id, "x");
  EXPECT_EQ(second[1].index, 1);
  EXPECT_TRUE(parts.has_tool_calls());
}

TEST(AnswerPartsTest, KnowsWhetherTextCameSinceTheLastLook) {
  AnswerParts parts("{}");
  parts.Add("a");
  EXPECT_TRUE(parts.behind());
  parts.Looking();
  EXPECT_FALSE(parts.behind());
}

}  // namespace
}  // namespace evenkeel
