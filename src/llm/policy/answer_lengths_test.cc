#include "llm/policy/answer_lengths.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <vector>

namespace evenkeel::policy {
namespace {

TEST(AnswerLengthsTest, BucketsFollowEachOtherAndHoldTheirLengths) {
  for (int64_t length = 0; length <= 70'000; ++length) {
    const size_t bucket = AnswerLengths::BucketOf(length);
    ASSERT_LE(length, AnswerLengths::EndOf(bucket));
    if (bucket > 0) {
      ASSERT_GT(length, AnswerLengths::EndOf(bucket - 1)) << length;
    }
    ASSERT_LE(static_cast<double>(AnswerLengths::EndOf(bucket)),
              std::max(1.25 * static_cast<double>(length), 16.0));
  }
  EXPECT_LT(AnswerLengths::BucketOf(int64_t{1} << 40), AnswerLengths::kBuckets);
}

TEST(AnswerLengthsTest, TheRestIsThatOfTheAnswersSeen) {
  EXPECT_TRUE(rc::check([] {
    AnswerLengths lengths;
    std::vector<int64_t> seen;
    const int answers = *rc::gen::inRange(1, 60);
    for (int i = 0; i < answers; ++i) {
      seen.push_back(*rc::gen::inRange(0, 4000));
      lengths.Add(seen.back());
    }
    const int64_t told = *rc::gen::inRange(0, 4000), most = *rc::gen::inRange(1, 5000);
    const double rest = lengths.ExpectedRest(told, most);
    if (told >= most) {
      RC_ASSERT(rest == 0);
      return;
    }
    RC_ASSERT(rest >= 1 && rest <= static_cast<double>(most - told));
    // By hand, with every answer of `told`'s own bucket either in or out, and fading within 60 of 1,000.
    double in = 0, in_count = 0, out = 0, out_count = 0;
    for (const int64_t length : seen) {
      if (AnswerLengths::BucketOf(length) < AnswerLengths::BucketOf(told)) continue;
      const double left = static_cast<double>(std::min(length, most) - told);
      in += left;
      ++in_count;
      if (AnswerLengths::BucketOf(length) == AnswerLengths::BucketOf(told)) continue;
      out += left;
      ++out_count;
    }
    if (out_count == 0) return;
    const double slack =
        0.3 * static_cast<double>(most) + 1;  // buckets' means are cut at `most` as a whole
    RC_ASSERT(rest >= std::min(in / in_count, out / out_count) - slack);
    RC_ASSERT(rest <= std::max(in / in_count, out / out_count) + slack);
  }));
}

TEST(AnswerLengthsTest, WithoutALimitTheRestIsExact) {
  AnswerLengths lengths;
  for (const int64_t length : {4, 8, 16, 1000}) lengths.Add(length);
  EXPECT_NEAR(lengths.ExpectedRest(0, 0), (4 + 8 + 16 + 1000) / 4.0, 1);
  EXPECT_NEAR(lengths.ExpectedRest(5, 0), (8 + 16 + 1000) / 3.0 - 5, 1);
  EXPECT_NEAR(lengths.ExpectedRest(20, 0), 980, 1);
  EXPECT_NEAR(lengths.ExpectedRest(20, 30), 10, 1e-9);
  EXPECT_EQ(lengths.ExpectedRest(5000, 0), 5000);  // longer than any: as much again
}

TEST(AnswerLengthsTest, QuantilesAreThoseOfTheSortedAnswersToTheirBucketsEnd) {
  EXPECT_TRUE(rc::check([] {
    AnswerLengths lengths;
    std::vector<int64_t> seen;
    const int answers = *rc::gen::inRange(1, 40);
    for (int i = 0; i < answers; ++i) {
      seen.push_back(*rc::gen::inRange(1, 10'000));
      lengths.Add(seen.back());
    }
    std::ranges::sort(seen);
    // Fading shifts a rank by less than one of 40.
    const auto at = static_cast<size_t>(0.9 * static_cast<double>(seen.size()));
    const int64_t quantile = lengths.Quantile(0.9);
    RC_ASSERT(quantile >= seen[at > 1 ? at - 2 : 0]);
    RC_ASSERT(quantile <= AnswerLengths::EndOf(
                              AnswerLengths::BucketOf(seen[std::min(at + 1, seen.size() - 1)])));
  }));
}

TEST(AnswerLengthsTest, TheOldFade) {
  AnswerLengths lengths;
  EXPECT_EQ(lengths.mean(), AnswerLengths::kUnknown);
  for (int i = 0; i < 1000; ++i) lengths.Add(100);
  for (int i = 0; i < 40'000; ++i) lengths.Add(10);  // past where weights are scaled back
  EXPECT_NEAR(lengths.mean(), 10, 0.01);
  EXPECT_EQ(lengths.seen(), 41'000);
}

}  // namespace
}  // namespace evenkeel::policy
