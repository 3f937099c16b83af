#include "llm/llm_table_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace evenkeel {
namespace {

policy::LlmLoadTable Table() {
  policy::LlmLoadTable table;
  table.Observe({2, 4, 100, 0}, std::chrono::milliseconds(20));
  table.Observe({2, 0, 0, 64}, std::chrono::milliseconds(60));
  table.Observe({1, 16, 5000, 0}, std::chrono::milliseconds(120));
  table.memory = {100, 20, 3};
  return table;
}

TEST(LlmTableJsonTest, WhatIsWrittenIsRead) {
  const auto kept = LlmTableFromJson(ToJson(Table(), {24, 9000}).dump());
  ASSERT_TRUE(kept.ok()) << kept.status().message();
  const auto before = Table().rows(), after = kept->table.rows();
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(after[i].cell, before[i].cell);
    EXPECT_NEAR(after[i].mean_s, before[i].mean_s, 1e-12);
    EXPECT_EQ(after[i].steps, before[i].steps);
  }
  EXPECT_EQ(kept->table.memory.other_bytes, 3);
  EXPECT_EQ(kept->chosen.slots, 24);
  EXPECT_EQ(kept->chosen.cells, 9000);
}

TEST(LlmTableJsonTest, WhateverIsChangedIsRefusedOrHarmless) {
  const auto whole = ToJson(Table(), {24, 9000});
  for (const char* text : {"", "{", "[]", "null", "3", R"({"schema":"evenkeel.load-tables/v1"})"})
    EXPECT_EQ(LlmTableFromJson(text).status().code(), Code::kInvalidArgument) << text;
  for (const char* key :
       {"threads", "sequences", "depth", "prompt_tokens", "step_ms", "spread_ms", "steps"}) {
    for (const nlohmann::ordered_json& bad :
         {nlohmann::ordered_json(), nlohmann::ordered_json(-1), nlohmann::ordered_json("2"),
          nlohmann::ordered_json(1e300), nlohmann::ordered_json::array()}) {
      auto changed = whole;
      changed["rows"][0][key] = bad;
      EXPECT_FALSE(LlmTableFromJson(changed.dump()).ok()) << key << " " << bad;
      changed["rows"][0].erase(key);
      EXPECT_FALSE(LlmTableFromJson(changed.dump()).ok()) << key;
    }
  }
  auto other = whole;
  other["rows"][0]["depth"] = 129;  // no class of depth
  EXPECT_FALSE(LlmTableFromJson(other.dump()).ok());
  other = whole;
  other.erase("memory");
  EXPECT_FALSE(LlmTableFromJson(other.dump()).ok());
  const std::string text = whole.dump();
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(LlmTableFromJson(text.substr(0, size)).ok());
}

}  // namespace
}  // namespace evenkeel
