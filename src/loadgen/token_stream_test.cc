#include "loadgen/token_stream.h"

#include <gtest/gtest.h>

namespace evenkeel::loadgen {
namespace {

using std::chrono::milliseconds;

std::string Text(std::string_view text) {
  return R"(data: {"choices":[{"index":0,"text":")" + std::string(text) + "\"}]}\n\n";
}

std::string Delta(std::string_view delta) {
  return R"(data: {"choices":[{"index":0,"delta":)" + std::string(delta) + "}]}\n\n";
}

TEST(TokenStreamTest, TimesTokensByTheirEvents) {
  TokenStream stream;
  EXPECT_TRUE(stream.Feed(Text("a"), milliseconds(100)));
  EXPECT_TRUE(stream.Feed(Text("b"), milliseconds(110)));
  EXPECT_TRUE(stream.Feed(Text("c") + Text("d"), milliseconds(130)));
  EXPECT_FALSE(stream.complete());
  EXPECT_TRUE(stream.Feed("data: [DONE]\n\n", milliseconds(131)));
  EXPECT_TRUE(stream.complete());
  EXPECT_EQ(stream.first(), milliseconds(100));
  EXPECT_EQ(stream.last(), milliseconds(130));
  EXPECT_EQ(stream.gaps(), (std::vector<Duration>{milliseconds(10), milliseconds(20), {}}));
  EXPECT_EQ(stream.output_tokens(), 4u);
  EXPECT_EQ(stream.MeanGap(), milliseconds(10));
}

TEST(TokenStreamTest, TakesTheServersCountsOverWhatItSaw) {
  TokenStream stream;
  stream.Feed(Text("ab"), milliseconds(10));
  stream.Feed(Text("c"), milliseconds(40));
  stream.Feed(
      R"(data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":5}}})"
      "\n\ndata: [DONE]\n\n",
      milliseconds(41));
  EXPECT_EQ(stream.seen(), 2u);
  EXPECT_EQ(stream.output_tokens(), 4u);
  EXPECT_EQ(stream.prompt_tokens(), 7u);
  EXPECT_EQ(stream.cached_tokens(), 5u);
  EXPECT_EQ(stream.MeanGap(), milliseconds(10));
}

TEST(TokenStreamTest, OnlyTextReasoningAndToolsAreTokens) {
  TokenStream stream;
  for (const char* delta : {R"({"role":"assistant","content":null})", R"({"content":""})", "{}",
                            R"({"tool_calls":[]})", "null", "3"})
    EXPECT_TRUE(stream.Feed(Delta(delta), milliseconds(1)));
  EXPECT_EQ(stream.seen(), 0u);
  for (const char* delta :
       {R"({"content":"x"})", R"({"reasoning_content":"hm"})", R"({"tool_calls":[{"index":0}]})"})
    EXPECT_TRUE(stream.Feed(Delta(delta), milliseconds(2)));
  EXPECT_EQ(stream.seen(), 3u);
}

TEST(TokenStreamTest, AnErrorInTheStreamIsAnError) {
  TokenStream stream;
  EXPECT_TRUE(stream.Feed(Text("a"), milliseconds(1)));
  EXPECT_FALSE(
      stream.Feed("data: {\"error\":{\"message\":\"out of cells\"}}\n\n", milliseconds(2)));
  EXPECT_NE(stream.error().find("out of cells"), std::string::npos) << stream.error();
  EXPECT_FALSE(stream.Feed("data: [DONE]\n\n", milliseconds(3)));
  EXPECT_FALSE(stream.complete());
}

TEST(TokenStreamTest, WhatIsNoStreamOfObjectsIsRefused) {
  for (const char* bytes : {"data: nonsense\n\n", "data: [1]\n\n", "data: {\n\n"}) {
    TokenStream stream;
    EXPECT_FALSE(stream.Feed(bytes, {})) << bytes;
    EXPECT_NE(stream.error().find("expected"), std::string::npos) << stream.error();
  }
}

TEST(TokenStreamTest, NumbersThatAreNoCountsAreNotTaken) {
  TokenStream stream;
  stream.Feed(Text("a"), {});
  stream.Feed(
      R"(data: {"usage":{"prompt_tokens":-3,"completion_tokens":1e300,"prompt_tokens_details":[]}})"
      "\n\n",
      {});
  EXPECT_EQ(stream.prompt_tokens(), 0u);
  EXPECT_EQ(stream.output_tokens(), 1u);
}

}  // namespace
}  // namespace evenkeel::loadgen
