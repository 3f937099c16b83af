#include "loadgen/prompts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace evenkeel::loadgen {
namespace {

using nlohmann::json;

TEST(PromptsTest, APromptHasAWordATokenAndDependsOnTheSeedOnly) {
  Rng rng(7), same(7), other(8);
  const std::string prompt = MakePrompt(64, &rng);
  EXPECT_EQ(std::ranges::count(prompt, ' '), 63);
  EXPECT_EQ(prompt, MakePrompt(64, &same));
  EXPECT_NE(prompt, MakePrompt(64, &other));
  EXPECT_NE(prompt, MakePrompt(64, &rng));
}

TEST(PromptsTest, TheBodyAsksForAStreamWithUsage) {
  Rng rng(1);
  const json text = json::parse(TextBody({"m"}, {5, 9}, &rng));
  EXPECT_EQ(text["model"], "m");
  EXPECT_EQ(text["max_tokens"], 9);
  EXPECT_EQ(text["stream"], true);
  EXPECT_EQ(text["stream_options"]["include_usage"], true);
  EXPECT_EQ(text["ignore_eos"], true);
  EXPECT_TRUE(text["prompt"].is_string() && !text.contains("messages"));
  const json chat = json::parse(TextBody({"m", TextApi::kChat, 0.5, true}, {5, 9}, &rng));
  EXPECT_EQ(chat["messages"][0]["role"], "user");
  EXPECT_EQ(chat["temperature"], 0.5);
  EXPECT_FALSE(chat.contains("ignore_eos") || chat.contains("prompt"));
}

TEST(PromptsTest, LengthsComeFromTheirColumns) {
  const auto rows = ParseLengths(
      "t_s,output_tokens, \"prompt_tokens\" \n# a comment\n0.5,3,10\r\n\n1,0,0\n", "f", 0);
  ASSERT_TRUE(rows.ok()) << rows.status().ToString();
  EXPECT_EQ(*rows, (std::vector<TextLengths>{{10, 3}, {1, 1}}));
}

TEST(PromptsTest, LengthsAreCutToTheContext) {
  const auto rows =
      ParseLengths("prompt_tokens,output_tokens\n5000,20\n10,5000\n5000,5000\n3,3\n", "f", 100);
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(*rows, (std::vector<TextLengths>{{80, 20}, {10, 50}, {50, 50}, {3, 3}}));
}

TEST(PromptsTest, AWrongFileIsRefusedWithItsLine) {
  const struct {
    const char* text;
    const char* says;
  } cases[] = {{"", "no lengths"},
               {"prompt_tokens,output_tokens\n", "no lengths"},
               {"t_s,prompt_tokens\n1,2\n", "output_tokens"},
               {"1,2\n", "f:1"},
               {"prompt_tokens,output_tokens\n1,2\n3\n", "f:3"},
               {"prompt_tokens,output_tokens\n1,-2\n", "f:2"},
               {"prompt_tokens,output_tokens\n1,x\n", "x"},
               {"prompt_tokens,output_tokens\n1,99999999999\n", "f:2"}};
  for (const auto& c : cases) {
    const auto rows = ParseLengths(c.text, "f", 0);
    ASSERT_FALSE(rows.ok()) << c.text;
    EXPECT_EQ(rows.status().code(), Code::kInvalidArgument);
    EXPECT_NE(rows.status().message().find(c.says), std::string::npos) << rows.status().message();
  }
  EXPECT_EQ(ReadLengthsFile("/nowhere", 0).status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace evenkeel::loadgen
