#include "core/json_fields.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using Json = nlohmann::json;

// What is wrong with `document` as {"name": a text, "count": 1 to 9} at `place`.
std::string Wrong(const Json& document, const std::string& place) {
  JsonFields fields(document, place, {"name", "count"});
  fields.Text("name", "", true);
  fields.Count("count", 1, 1, 9);
  EXPECT_TRUE(fields.status().ok() || fields.status().code() == Code::kInvalidArgument);
  return fields.status().message();
}

TEST(JsonFieldsTest, MessagesBeginWithThePlace) {
  EXPECT_EQ(Wrong({{"name", "x"}, {"count", 9}}, "tasks[2]"), "");
  EXPECT_EQ(Wrong({{"name", 5}}, "tasks[2]"), "tasks[2].name: expected a text, got '5'");
  EXPECT_EQ(Wrong({{"count", 5}}, "tasks[2]"), "tasks[2]: 'name' is missing");
  EXPECT_EQ(Wrong({{"nam", "x"}}, "tasks[2]"), "tasks[2]: unknown key 'nam'; did you mean 'name'?");
  EXPECT_EQ(Wrong(Json::array(), "tasks[2]"), "tasks[2]: expected an object, got '[]'");
}

TEST(JsonFieldsTest, AnEmptyPlaceLeavesNoMarkBehind) {
  EXPECT_EQ(Wrong({{"name", 5}}, ""), "name: expected a text, got '5'");
  EXPECT_EQ(Wrong({{"name", "x"}, {"count", 10}}, ""),
            "count: expected a whole number from 1 to 9, got '10'");
  EXPECT_EQ(Wrong({{"count", 5}}, ""), "'name' is missing");
  EXPECT_EQ(Wrong({{"nam", "x"}}, ""), "unknown key 'nam'; did you mean 'name'?");
  EXPECT_EQ(Wrong(Json::array(), ""), "expected an object, got '[]'");
}

}  // namespace
}  // namespace evenkeel
