#include "net/sse_reader.h"

#include <gtest/gtest.h>

#include <vector>

namespace evenkeel {
namespace {

std::vector<std::string> ReadBy(size_t step, std::string_view text) {
  std::vector<std::string> events;
  SseReader reader;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, step);
    EXPECT_TRUE(reader.Feed(piece, [&](std::string_view data) { events.emplace_back(data); }).ok());
    text.remove_prefix(piece.size());
  }
  return events;
}

TEST(SseReaderTest, EventsAreTheSameHoweverTheyArrive) {
  const std::string text =
      "data: one\n\n: ping\n\ndata:two\r\ndata: lines\r\n\r\nevent: x\rdata:  three\r\rdata\n\n"
      "database: no\n\nid: 5\n\ndata: unfinished\n";
  const std::vector<std::string> expected = {"one", "two\nlines", " three", ""};
  for (const size_t step : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, text.size()})
    EXPECT_EQ(ReadBy(step, text), expected) << step;
}

TEST(SseReaderTest, AnEventThatDoesNotEndIsAnError) {
  SseReader reader(100);
  const auto nobody = [](std::string_view) { FAIL(); };
  EXPECT_TRUE(reader.Feed("data: " + std::string(90, 'x'), nobody).ok());
  EXPECT_EQ(reader.Feed(std::string(10, 'x'), nobody).code(), Code::kTooLarge);
  EXPECT_EQ(reader.Feed("\n\n", nobody).code(), Code::kTooLarge);
}

}  // namespace
}  // namespace evenkeel
