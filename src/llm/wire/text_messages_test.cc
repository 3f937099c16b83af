#include "llm/wire/text_messages.h"

#include <gtest/gtest.h>

#include <limits>

namespace evenkeel {
namespace {

TextEnd Vector() {
  TextEnd end;
  end.id = 7;
  end.values = {0.6F, -0.8F};
  end.queue = std::chrono::milliseconds(2);
  end.compute = std::chrono::milliseconds(3);
  return end;
}

TEST(TextMessagesTest, ArriveAsTheyWereSent) {
  const auto text = DecodeText(Encode(TextStart{9, {1, 2, 3}, 4}));
  ASSERT_TRUE(text.ok()) << text.status().ToString();
  EXPECT_EQ(text->id, 9u);
  EXPECT_EQ(text->tokens, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(text->priority, 4);
  const auto vector = DecodeVector(Encode(Vector()));
  ASSERT_TRUE(vector.ok()) << vector.status().ToString();
  EXPECT_EQ(vector->id, 7u);
  EXPECT_TRUE(vector->status.ok());
  EXPECT_EQ(vector->values, Vector().values);
  EXPECT_EQ(vector->compute, Vector().compute);
  const auto step = DecodeTextStep(Encode(TextReport{5, 2, 1, 9, 4096, Duration(7)}));
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(step->tokens, 5);
  EXPECT_EQ(step->waiting, 9);
  EXPECT_EQ(step->bytes, 4096);
  EXPECT_EQ(step->took, Duration(7));
}

TEST(TextMessagesTest, AFailureHasAReasonAndNoVector) {
  TextEnd end = Vector();
  end.values.clear();
  end.status = Status(Code::kUnavailable, "no\x01room");
  const auto read = DecodeVector(Encode(end));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->status.code(), Code::kUnavailable);
  EXPECT_EQ(read->status.message(), "no?room");
  end.values = {1};
  EXPECT_FALSE(DecodeVector(Encode(end)).ok());
  end.values.clear();
  end.status = Status::Ok();
  EXPECT_FALSE(DecodeVector(Encode(end)).ok());
}

TEST(TextMessagesTest, EveryTruncationAndExtensionIsRefused) {
  const std::string text = Encode(TextStart{9, {1, 2, 3}, 4});
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(DecodeText(std::string_view(text).substr(0, size)).ok()) << size;
  EXPECT_FALSE(DecodeText(text + "x").ok());
  const std::string vector = Encode(Vector());
  for (size_t size = 0; size < vector.size(); ++size)
    EXPECT_FALSE(DecodeVector(std::string_view(vector).substr(0, size)).ok()) << size;
  EXPECT_FALSE(DecodeVector(vector + "x").ok());
  const std::string step = Encode(TextReport{5, 2, 1, 9, 4096, Duration(7)});
  for (size_t size = 0; size < step.size(); ++size)
    EXPECT_FALSE(DecodeTextStep(std::string_view(step).substr(0, size)).ok()) << size;
}

TEST(TextMessagesTest, NumbersThatNothingShouldReachAreRefused) {
  EXPECT_FALSE(DecodeText(Encode(TextStart{0, {1}, 8})).ok());
  EXPECT_FALSE(DecodeText(Encode(TextStart{1, {}, 8})).ok());
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    TextEnd end = Vector();
    end.values[1] = bad;
    EXPECT_FALSE(DecodeVector(Encode(end)).ok());
  }
  TextEnd late = Vector();
  late.queue = Duration(-1);
  EXPECT_FALSE(DecodeVector(Encode(late)).ok());
  EXPECT_FALSE(DecodeTextStep(Encode(TextReport{-1, 0, 0, 0, 0, {}})).ok());
  EXPECT_FALSE(DecodeTextStep(Encode(TextReport{0, 0, 0, 0, -1, {}})).ok());
}

}  // namespace
}  // namespace evenkeel
