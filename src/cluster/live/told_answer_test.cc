#include "cluster/live/told_answer.h"

#include <gtest/gtest.h>

#include <random>

namespace evenkeel {
namespace {

GenerationDelta Piece(std::string text, std::vector<int32_t> tokens) {
  GenerationDelta delta;
  delta.text = text;
  delta.raw = std::move(text);
  delta.tokens = std::move(tokens);
  return delta;
}

TEST(ToldAnswerTest, AFirstAttemptIsPassedOnWithoutItsTokens) {
  ToldAnswer told(1);
  EXPECT_FALSE(told.begun());
  const auto fresh = told.OnDelta(Piece("ab", {1, 2}));
  ASSERT_TRUE(fresh);
  EXPECT_EQ(fresh->text, "ab");
  EXPECT_TRUE(fresh->tokens.empty());
  EXPECT_TRUE(fresh->raw.empty());
  EXPECT_FALSE(told.OnDelta(Piece("", {3})));  // held back by the other node
  EXPECT_TRUE(told.begun());
  EXPECT_EQ(told.tokens(), 3);
}

TEST(ToldAnswerTest, TheNextAttemptTellsOnlyWhatIsNew) {
  ToldAnswer told(1);
  told.OnDelta(Piece("one ", {1}));
  told.OnDelta(Piece("two ", {2}));
  const auto begun = told.Resume();
  ASSERT_EQ(begun.size(), 1);
  EXPECT_EQ(begun[0].tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(begun[0].text, "one two ");
  GenerationDelta again;  // what was begun comes without tokens, since they were given
  again.text = "one two ";
  EXPECT_FALSE(told.OnDelta(again));
  const auto fresh = told.OnDelta(Piece("three", {3}));
  ASSERT_TRUE(fresh);
  EXPECT_EQ(fresh->text, "three");
  EXPECT_EQ(told.Resume()[0].text, "one two three");
}

TEST(ToldAnswerTest, ToolCallsKeepTheirFirstId) {
  ToldAnswer told(1);
  GenerationDelta delta;
  delta.tool_calls = {{0, "id1", "f", "{\"a\""}};
  EXPECT_EQ(told.OnDelta(delta)->tool_calls[0].id, "id1");
  static_cast<void>(told.Resume());
  delta.tool_calls = {{0, "id2", "f", "{\"a\": 1"}};
  const auto fresh = told.OnDelta(delta);
  ASSERT_TRUE(fresh);
  EXPECT_EQ(fresh->tool_calls[0].id, "");
  EXPECT_EQ(fresh->tool_calls[0].name, "");
  EXPECT_EQ(fresh->tool_calls[0].arguments, ": 1");
}

TEST(ToldAnswerTest, EndedChoicesAreNotBegunAgain) {
  ToldAnswer told(2);
  told.OnDelta(Piece("x", {1}));
  told.OnFinish(0);
  EXPECT_FALSE(told.all_ended());
  EXPECT_EQ(told.ended_tokens(), 0);
  const auto begun = told.Resume();
  EXPECT_TRUE(begun[0].ended);
  EXPECT_FALSE(begun[1].ended);
  EXPECT_EQ(told.ended_tokens(), 1);
  told.OnFinish(1);
  EXPECT_TRUE(told.all_ended());
}

// However often an answer is lost, and wherever its pieces are cut, the client has it once and whole.
TEST(ToldAnswerTest, TheClientHasEveryByteOnce) {
  std::mt19937 random(11);
  for (int round = 0; round < 500; ++round) {
    std::string whole;
    for (int i = 0; i < 60; ++i) whole += static_cast<char>('a' + random() % 26);
    ToldAnswer told(1);
    std::string client;
    size_t at = 0;  // tokens are bytes here
    bool resumed = false;
    while (at < whole.size()) {
      if (resumed) {
        GenerationDelta again;
        again.text = whole.substr(0, at);
        if (const auto fresh = told.OnDelta(again)) client += fresh->text;
      }
      const size_t until = std::min(whole.size(), at + 1 + random() % 30);
      while (at < until) {
        const size_t piece = std::min(until - at, size_t{1} + random() % 4);
        std::vector<int32_t> tokens;
        for (size_t i = at; i < at + piece; ++i) tokens.push_back(whole[i]);
        if (const auto fresh = told.OnDelta(Piece(whole.substr(at, piece), tokens)))
          client += fresh->text;
        at += piece;
      }
      const auto begun = told.Resume();
      ASSERT_EQ(begun[0].text, whole.substr(0, at));
      ASSERT_EQ(begun[0].tokens.size(), at);
      resumed = true;
    }
    ASSERT_EQ(client, whole);
  }
}

}  // namespace
}  // namespace evenkeel
