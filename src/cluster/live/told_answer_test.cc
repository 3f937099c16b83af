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

// It should not tell other words than the one before; if it does, the client gets whole characters yet.
TEST(ToldAnswerTest, AnAttemptWithOtherWordsIsNotCutInsideACharacter) {
  ToldAnswer told(1);
  told.OnDelta(Piece("a", {1}));
  static_cast<void>(told.Resume());
  GenerationDelta other;
  other.text = "\xc3\xa9\xe2\x82\xac";  // two bytes, three bytes
  const auto fresh = told.OnDelta(other);
  ASSERT_TRUE(fresh);
  EXPECT_EQ(fresh->text, "\xe2\x82\xac");
}

TEST(ToldAnswerTest, AChoiceIsKnownToHaveEnded) {
  ToldAnswer told(2);
  told.OnDelta(Piece("a", {1}));
  told.OnFinish(1);
  EXPECT_FALSE(told.ended(0));
  EXPECT_TRUE(told.ended(1));
}

// What is told of one choice, whole.
struct Whole {
  std::string text, reasoning, arguments;
  bool operator==(const Whole&) const = default;
};

std::string Letters(std::mt19937& random, size_t most) {
  std::string text(random() % (most + 1), ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

// Tells the parts of `whole` between `from` and `until` in random pieces, each with a token where `tokens`.
void Tell(std::mt19937& random, const Whole& whole, int choice, Whole from, const Whole& until,
          bool tokens, ToldAnswer* told, Whole* client, int* ids) {
  const auto step = [&](const std::string& all, std::string* at, const std::string& end) {
    const size_t piece = std::min(end.size() - at->size(), random() % 5);
    const std::string part = all.substr(at->size(), piece);
    *at += part;
    return part;
  };
  while (from != until) {
    GenerationDelta delta;
    delta.choice = choice;
    delta.text = step(whole.text, &from.text, until.text);
    delta.reasoning = step(whole.reasoning, &from.reasoning, until.reasoning);
    const bool first = from.arguments.empty();
    const std::string arguments = step(whole.arguments, &from.arguments, until.arguments);
    if (!arguments.empty())
      delta.tool_calls = {
          {3, first ? "id" + std::to_string(random()) : "", first ? "f" : "", arguments}};
    if (tokens) {
      delta.tokens = {7};
      delta.raw = "r";
    }
    const auto fresh = told->OnDelta(delta);
    if (!fresh) continue;
    ASSERT_EQ(fresh->choice, choice);
    client->text += fresh->text;
    client->reasoning += fresh->reasoning;
    for (const ToolCallDelta& call : fresh->tool_calls) {
      client->arguments += call.arguments;
      *ids += call.id.empty() ? 0 : 1;
    }
  }
}

// Each attempt cuts its pieces where it likes, also those of what was told before.
TEST(ToldAnswerTest, PiecesMayBeCutOtherwiseTheNextTime) {
  std::mt19937 random(23);
  for (int round = 0; round < 400; ++round) {
    ToldAnswer told(2);
    std::vector<Whole> whole(2), client(2), at(2);
    std::vector<int> ids(2, 0);
    for (Whole& one : whole) one = {Letters(random, 40), Letters(random, 20), Letters(random, 20)};
    for (int attempt = 0; attempt < 4; ++attempt) {
      for (int choice = 0; choice < 2; ++choice) {
        const auto c = static_cast<size_t>(choice);
        // Of each part some more than before; the last attempt gets to the end.
        const auto further = [&](const std::string& all, const std::string& had) {
          const size_t rest = all.size() - had.size();
          return all.substr(0, had.size() + (attempt == 3 ? rest : random() % (rest + 1)));
        };
        const Whole until{further(whole[c].text, at[c].text),
                          further(whole[c].reasoning, at[c].reasoning),
                          further(whole[c].arguments, at[c].arguments)};
        Tell(random, whole[c], choice, {}, at[c], false, &told, &client[c], &ids[c]);
        ASSERT_EQ(client[c], at[c]) << "what was told came again";
        Tell(random, whole[c], choice, at[c], until, true, &told, &client[c], &ids[c]);
        at[c] = until;
        ASSERT_EQ(client[c], at[c]);
      }
      static_cast<void>(told.Resume());
    }
    ASSERT_EQ(client, whole);
    for (size_t c = 0; c < 2; ++c) ASSERT_EQ(ids[c], whole[c].arguments.empty() ? 0 : 1);
  }
}

}  // namespace
}  // namespace evenkeel
