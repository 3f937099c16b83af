#include "core/parse.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace evenkeel {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

Duration DurationOf(std::string_view text) {
  const Result<Duration> parsed = ParseDuration(text);
  EXPECT_TRUE(parsed.ok()) << text << ": " << parsed.status().ToString();
  return parsed.ok() ? *parsed : Duration(-1);
}

int64_t BytesOf(std::string_view text) {
  const Result<int64_t> parsed = ParseBytes(text);
  EXPECT_TRUE(parsed.ok()) << text << ": " << parsed.status().ToString();
  return parsed.ok() ? *parsed : -1;
}

TEST(ParseNumberTest, TakesDecimalsInRangeOnly) {
  EXPECT_DOUBLE_EQ(*ParseNumber("0.8", 0, 1), 0.8);
  EXPECT_DOUBLE_EQ(*ParseNumber("1e-3", 0, 1), 0.001);
  EXPECT_DOUBLE_EQ(*ParseNumber("1", 0, 1), 1);
  for (const char* bad : {"", " 1", "1 ", "1.1", "-0", "+1", "nan", "inf", "0x1", "1,0", ".5"})
    EXPECT_FALSE(ParseNumber(bad, 0, 1).ok()) << bad;
  EXPECT_EQ(ParseNumber("2", 0, 1).status().message(), "expected a number from 0 to 1, got '2'");
}

TEST(ParseDurationTest, TakesEveryUnit) {
  EXPECT_EQ(DurationOf("7ns"), Duration(7));
  EXPECT_EQ(DurationOf("500us"), microseconds(500));
  EXPECT_EQ(DurationOf("5\xc2\xb5s"), microseconds(5));
  EXPECT_EQ(DurationOf("2ms"), milliseconds(2));
  EXPECT_EQ(DurationOf("3s"), seconds(3));
  EXPECT_EQ(DurationOf("4m"), minutes(4));
  EXPECT_EQ(DurationOf("5h"), hours(5));
  EXPECT_EQ(DurationOf("0"), Duration(0));
}

TEST(ParseDurationTest, FractionsAreExact) {
  EXPECT_EQ(DurationOf("1.5s"), milliseconds(1500));
  EXPECT_EQ(DurationOf("0.1s"), milliseconds(100));
  EXPECT_EQ(DurationOf("0.000000001s"), Duration(1));
  EXPECT_EQ(DurationOf("1.50000s"), milliseconds(1500));
  EXPECT_EQ(DurationOf("0.3h"), minutes(18));
  EXPECT_FALSE(ParseDuration("0.5ns").ok());
  EXPECT_FALSE(ParseDuration("0.0000000001s").ok());
}

TEST(ParseDurationTest, RefusesWhatIsNotADuration) {
  for (const char* bad : {"",
                          "ms",
                          "5",
                          "-1s",
                          "+1s",
                          "1 s",
                          " 1s",
                          "1s ",
                          "1.s",
                          ".5s",
                          "1..5s",
                          "1.5.1s",
                          "1e3s",
                          "0x1s",
                          "1S",
                          "nan",
                          "infs",
                          "1ms2",
                          "9223372036855s",
                          "99999999999999999999ns"}) {
    EXPECT_EQ(ParseDuration(bad).status().code(), Code::kInvalidArgument) << bad;
  }
}

TEST(ParseDurationTest, MessageShowsWhatCame) {
  EXPECT_EQ(ParseDuration("two").status().message(),
            "expected a duration such as '2ms', '500us' or '1.5s', got 'two'");
  EXPECT_EQ(ParseDuration("9999999999h").status().message(), "duration '9999999999h' is too large");
}

TEST(ParseBytesTest, TakesBinaryAndDecimalUnits) {
  EXPECT_EQ(BytesOf("17"), 17);
  EXPECT_EQ(BytesOf("17B"), 17);
  EXPECT_EQ(BytesOf("64KiB"), 65536);
  EXPECT_EQ(BytesOf("256MiB"), 256 << 20);
  EXPECT_EQ(BytesOf("1.5GiB"), 3LL << 29);
  EXPECT_EQ(BytesOf("2TiB"), 1LL << 41);
  EXPECT_EQ(BytesOf("3kB"), 3000);
  EXPECT_EQ(BytesOf("2.5MB"), 2'500'000);
}

TEST(ParseBytesTest, RefusesWhatIsNotASize) {
  for (const char* bad : {"", "MiB", "-1", "1 MiB", "1mib", "1M", "0.3B", "9000000TiB", "1e6",
                          "99999999999999999999"}) {
    EXPECT_EQ(ParseBytes(bad).status().code(), Code::kInvalidArgument) << bad;
  }
}

TEST(ParseTest, FormattingParsesBackToTheSameValue) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const int64_t value = static_cast<int64_t>(random() >> (1 + random() % 62));
    EXPECT_EQ(DurationOf(FormatDuration(Duration(value))), Duration(value));
    EXPECT_EQ(BytesOf(FormatBytes(value)), value);
  }
  EXPECT_EQ(FormatDuration(milliseconds(1500)), "1500ms");
  EXPECT_EQ(FormatDuration(Duration(0)), "0s");
  EXPECT_EQ(FormatBytes(256 << 20), "256MiB");
  EXPECT_EQ(FormatBytes(1500), "1500B");
  EXPECT_EQ(BytesOf(FormatBytes(kMax)), kMax);
}

TEST(ParseIntTest, HoldsTheBounds) {
  EXPECT_EQ(*ParseInt("-3", -5, 5), -3);
  EXPECT_EQ(*ParseInt("9223372036854775807", 0, kMax), kMax);
  for (const char* bad :
       {"", "6", "-6", "1x", " 1", "+1", "1.0", "0x1", "9223372036854775808", "--1"}) {
    EXPECT_EQ(ParseInt(bad, -5, 5).status().code(), Code::kInvalidArgument) << bad;
  }
}

TEST(Utf8Test, AgreesWithTheDefinition) {
  for (const char* good : {"", "abc", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x98\x80",
                           "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << Excerpt(good);
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe4\xb8", "\xff", "a\xe4\xb8z"}) {
    EXPECT_FALSE(IsUtf8(bad)) << Excerpt(bad);
  }
}

TEST(ExcerptTest, IsShortAndPrintable) {
  EXPECT_EQ(Excerpt("a\nb\xff"), "'a\\x0ab\\xff'");
  EXPECT_EQ(Excerpt(std::string(100, 'a'), 4), "'aaaa...'");
}

}  // namespace
}  // namespace evenkeel
