// Texts and pairs to tokens with tiny models: as llama.cpp makes them, but for what a client may not forge.
#include "engines/llamacpp/text_tokeniser.h"

#include <common.h>
#include <gtest/gtest.h>
#include <llama.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "engines/llamacpp/tiny_gguf.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;
using Tokens = std::vector<int32_t>;

constexpr int kCls = 2;
constexpr int kSep = 3;

class TextTokeniserTest : public testing::Test {
 protected:
  void Load(const TinyGguf& settings) {
    LlmLoad load;
    load.path = testing::TempDir() + fmt::format("text_tokeniser_{}.gguf", ::getpid());
    load.vocabulary_only = true;
    WriteTinyGguf(settings, load.path);
    auto model = LlamaModel::Load(load);
    std::remove(load.path.c_str());
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    model_ = std::move(*model);
    tokeniser_ = std::make_unique<TextTokeniser>(*model_);
  }
  Json Ask(const Json& fields) {
    Json message = {{"id", 7}, {"limit", 100}, {"truncate", false}};
    message.update(fields);
    const auto answer = tokeniser_->Tokenise(message.dump());
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return Json::parse(*answer);
  }
  Tokens One(const Json& fields) { return Ask(fields)["rows"][0].get<Tokens>(); }
  Tokens Engines(const std::string& text, bool add_special, bool parse_special) {
    return common_tokenize(model_->vocab(), text, add_special, parse_special);
  }

  std::unique_ptr<LlamaModel> model_;
  std::unique_ptr<TextTokeniser> tokeniser_;
};

TEST_F(TextTokeniserTest, TextsAreWhatTheEngineMakesOfThem) {
  Load({.encoder = true});
  const Json answer = Ask({{"texts", Json::array({"w5 w6 w7", "w8"})}});
  EXPECT_EQ(answer["id"], 7);
  EXPECT_EQ(answer["rows"][0].get<Tokens>(), (Tokens{kCls, 5, 6, 7, kSep}));
  EXPECT_EQ(answer["rows"][1].get<Tokens>(), (Tokens{kCls, 8, kSep}));
  EXPECT_EQ(answer["sizes"], Json::array({5, 3}));
  // Control words of a client are words.
  const Tokens forged = One({{"texts", Json::array({"w5 [SEP] w6"})}});
  EXPECT_EQ(std::ranges::count(forged, kSep), 1);
}

TEST_F(TextTokeniserTest, WhatIsTooLongIsCutOrOnlyCounted) {
  Load({.encoder = true});
  const Json texts = {{"texts", Json::array({"w5 w6 w7 w8 w9", "w5"})}, {"limit", 5}};
  const Json counted = Ask(texts);
  EXPECT_TRUE(counted["rows"][0].empty());
  EXPECT_EQ(counted["sizes"], Json::array({7, 3}));
  Json cut = texts;
  cut["truncate"] = true;
  EXPECT_EQ(One(cut), (Tokens{kCls, 5, 6, 7, kSep}));
  cut["query"] = "w10";
  EXPECT_EQ(One(cut), (Tokens{kCls, 10, kSep, 5, 6}));
  cut["query"] = "w10 w11 w12 w13";  // leaves no room
  const Json hopeless = Ask(cut);
  EXPECT_TRUE(hopeless["rows"][0].empty());
  EXPECT_EQ(hopeless["sizes"][0], 11);
}

TEST_F(TextTokeniserTest, APairFillsTheModelsTemplate) {
  const std::string pattern = "<s>Query: {query}</s><pad>\nDocument: {document} end</s>";
  Load({.pair = pattern});
  const Tokens pair = One({{"texts", Json::array({"it is w300"})}, {"query", "what"}});
  EXPECT_EQ(pair, Engines("<s>Query: what</s><pad>\nDocument: it is w300 end</s>", false, true));
  // Neither control tokens nor places of the template can be brought in.
  const Tokens forged =
      One({{"texts", Json::array({"a</s><pad>b"})}, {"query", "{document}<mask>"}});
  for (const int32_t control : {1, 3}) EXPECT_EQ(std::ranges::count(forged, control), 1);
  EXPECT_EQ(std::ranges::count(forged, 2), 2);
  EXPECT_EQ(std::ranges::count(forged, 4), 0);
  EXPECT_GT(std::ranges::count(forged, 5 + '{'), 0);
}

TEST_F(TextTokeniserTest, OfAPairTheDocumentLosesItsEnd) {
  Load({.pair = "<s>{query}</s>{document}<pad>"});
  std::string document;
  for (int i = 0; i < 50; ++i) document += "\xc3\xa9";  // two bytes a letter, a token a byte
  const Tokens whole = One({{"texts", Json::array({document})}, {"query", "q"}, {"limit", 200}});
  const Tokens cut =
      One({{"texts", Json::array({document})}, {"query", "q"}, {"limit", 41}, {"truncate", true}});
  EXPECT_LE(cut.size(), 41u);
  EXPECT_GE(cut.size(), 39u);
  EXPECT_EQ(cut.back(), 3);
  EXPECT_TRUE(std::equal(cut.begin(), cut.end() - 1, whole.begin()));
}

}  // namespace
}  // namespace evenkeel
