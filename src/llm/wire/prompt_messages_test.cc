#include "llm/wire/prompt_messages.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace evenkeel {
namespace {

using Json = nlohmann::json;

TEST(PromptMessagesTest, TextsAreAskedForInFull) {
  TextsToTokenise texts;
  texts.texts = {"a", "caf\xc3\xa9"};
  texts.limit = 512;
  Json message = Json::parse(EncodeTexts(9, texts));
  EXPECT_EQ(message, Json({{"id", 9},
                           {"texts", Json::array({"a", "caf\xc3\xa9"})},
                           {"limit", 512},
                           {"truncate", false}}));
  texts.query = "";
  texts.truncate = true;
  message = Json::parse(EncodeTexts(9, texts));
  EXPECT_EQ(message["query"], "");
  EXPECT_EQ(message["truncate"], true);
}

TEST(PromptMessagesTest, TokenisedTextsAreCheckedInEveryField) {
  const auto read = DecodeTokenised(R"({"id":9,"rows":[[1,2],[]],"sizes":[2,70]})");
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->id, 9u);
  EXPECT_EQ(read->rows, (std::vector<std::vector<int32_t>>{{1, 2}, {}}));
  EXPECT_EQ(read->sizes, (std::vector<int64_t>{2, 70}));
  for (const char* bad :
       {"", "[]", "{}", R"({"id":9,"rows":[[1]],"sizes":[]})",
        R"({"id":9,"rows":[["a"]],"sizes":[1]})", R"({"id":9,"rows":1,"sizes":[1]})",
        R"({"id":"9","rows":[],"sizes":[]})", R"({"id":9,"rows":[[1]],"sizes":["1"]})"}) {
    EXPECT_EQ(DecodeTokenised(bad).status().code(), Code::kInternal) << bad;
  }
}

}  // namespace
}  // namespace evenkeel
