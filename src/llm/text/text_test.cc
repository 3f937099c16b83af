#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

#include "llm/text/stop_matcher.h"
#include "llm/text/utf8_tail.h"

namespace evenkeel {
namespace {

// Cuts `text` at random places.
std::vector<std::string> Pieces(const std::string& text) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size();) {
    const size_t size = *rc::gen::inRange<size_t>(1, 5);
    pieces.push_back(text.substr(at, size));
    at += size;
  }
  return pieces;
}

TEST(StopMatcherTest, EndsWhereTheWholeTextWouldHoweverItIsCut) {
  EXPECT_TRUE(rc::check([] {
    const auto letters = rc::gen::elementOf(std::string("ab"));
    const auto text = *rc::gen::container<std::string>(letters);
    const auto words =
        *rc::gen::container<std::vector<std::string>>(rc::gen::container<std::string>(letters));
    // The first place at which a word ends, looked for letter by letter.
    size_t first = std::string::npos;
    for (size_t end = 1; end <= text.size() && first == std::string::npos; ++end) {
      for (const auto& word : words) {
        if (!word.empty() && text.substr(0, end).ends_with(word))
          first = std::min(first, end - word.size());
      }
    }
    StopMatcher matcher(words);
    std::string told;
    for (const auto& piece : Pieces(text)) told += matcher.Feed(piece);
    RC_ASSERT(matcher.stopped() == (first != std::string::npos));
    told += matcher.End();
    RC_ASSERT(told == text.substr(0, first));
  }));
}

TEST(StopMatcherTest, HoldsBackOnlyWhatMayBecomeAWord) {
  StopMatcher matcher({"</s>", "stop"});
  EXPECT_EQ(matcher.Feed("one <"), "one ");
  EXPECT_EQ(matcher.Feed("b> st"), "<b> ");
  EXPECT_EQ(matcher.Feed("op here"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Feed("more"), "");
}

TEST(Utf8TailTest, NeverCutsACharacter) {
  EXPECT_TRUE(rc::check([] {
    const auto characters =
        *rc::gen::container<std::vector<std::string>>(rc::gen::element<std::string>(
            "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf"));
    std::string text;
    for (const auto& c : characters) text += c;
    Utf8Tail tail;
    std::string told;
    for (const auto& piece : Pieces(text)) {
      const std::string part = tail.Feed(piece);
      told += part;
      // Each part is whole: nothing is held when it is fed anew.
      Utf8Tail alone;
      RC_ASSERT(alone.Feed(part) == part);
      RC_ASSERT(alone.End().empty());
    }
    RC_ASSERT(told == text);
    RC_ASSERT(tail.End().empty());
  }));
}

TEST(Utf8TailTest, ReplacesWhatIsNoCharacter) {
  const std::string bad = "\xef\xbf\xbd";
  const auto all = [](std::string_view bytes) {
    Utf8Tail tail;
    std::string text = tail.Feed(bytes);
    return text + tail.End();
  };
  EXPECT_EQ(all("a\xff"
                "b"),
            "a" + bad + "b");
  EXPECT_EQ(all("\xc3"), bad);
  EXPECT_EQ(all("\xe2\x82x"), bad + "x");
  EXPECT_EQ(all("\xc0\x80"), bad + bad);
  EXPECT_EQ(all("\xed\xa0\x80"), bad + bad + bad);  // half of a surrogate pair
  EXPECT_EQ(all("\xf4\x90\x80\x80"), bad + bad + bad + bad);
}

}  // namespace
}  // namespace evenkeel
