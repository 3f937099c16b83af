#include "cluster/live/replica_wishes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "cluster/live/figures_test_kit.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

TEST(ReplicaWishesTest, TheLatestWordCountsInWhateverOrderItIsHeard) {
  std::vector<ReplicaWish> said;
  for (int i = 0; i < 40; ++i) said.push_back({fmt::format("m{}", i % 4), i % 7, i / 2});
  std::mt19937 random(1);
  ReplicaWishes first;
  for (const ReplicaWish& wish : said) first.Take(wish);
  for (int round = 0; round < 50; ++round) {
    std::ranges::shuffle(said, random);
    ReplicaWishes other;
    for (const ReplicaWish& wish : said) other.Take(wish);
    for (const ReplicaWish& wish : said) EXPECT_FALSE(other.Take(wish)) << "twice is once";
    EXPECT_EQ(other.All(), first.All());
  }
}

TEST(ReplicaWishesTest, WhatIsSaidNowIsLaterThanWhatAWrongClockSaid) {
  ReplicaWishes wishes;
  EXPECT_EQ(wishes.Of("m"), 0);
  EXPECT_TRUE(wishes.Take({"m", 3, 9'000'000}));
  wishes.Ask("m", 2, 1000);
  EXPECT_EQ(wishes.Of("m"), 2);
  EXPECT_EQ(wishes.All().front().unix_ms, 9'000'001);
}

TEST(ReplicaWishesTest, OfTooManyTheOldestGoes) {
  ReplicaWishes wishes;
  for (int i = 0; i < 1000; ++i) wishes.Ask(fmt::format("m{}", i), 2, 100 + i);
  EXPECT_FALSE(wishes.Take({"old", 2, 50})) << "else it would be news each time it is told";
  EXPECT_TRUE(wishes.Take({"new", 2, 5000}));
  EXPECT_EQ(wishes.All().size(), ReplicaWishes::kMost);
  EXPECT_EQ(wishes.Of("m0"), 0);
  EXPECT_EQ(wishes.Of("m1"), 2);
}

TEST(ReplicaWishesTest, AFileHoldsThem) {
  ReplicaWishes wishes;
  wishes.Ask("chat", 3, 1'700'000'000'000);
  wishes.Ask("bert", 0, 1'700'000'000'001);
  const auto read = ParseWishes(WriteWishes(wishes));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->All(), wishes.All());
  for (const auto& [text, words] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "JSON"},
           {R"({"schema": 2, "models": []})", "expected 1, got 2"},
           {R"({"schema": 1})", "models"},
           {R"({"schema": 1, "models": [{"replicas": 1}]})", "models[0]"},
           {R"({"schema": 1, "models": [{"model": "m", "replicas": -1}]})", "0 to 1000"}}) {
    const auto refused = ParseWishes(text);
    EXPECT_EQ(refused.status().code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(refused.status().message(), HasSubstr(words)) << text;
  }
}

TEST(ReplicaWishesTest, AModelKeepsWhatServesUnlessPeopleSaidOtherwise) {
  std::vector<ReplicaTable::NodeView> nodes{ViewOf("a", 2, 100), ViewOf("b", 2, 100),
                                            ViewOf("c", 2, 100)};
  for (auto& node : nodes) Serve(node, "chat", 0.01, 1);
  Serve(nodes[1], "chat", 0.01, 1);  // another version there
  Serve(nodes[0], "bert", 0.01, 1);
  EXPECT_EQ(ReplicasNow(nodes).at("chat").least(), 3);
  EXPECT_EQ(ReplicasNow(nodes).at("bert").least(), 1);
  nodes[2].suspect = true;
  EXPECT_EQ(ReplicasNow(nodes).at("chat").serving, 2);
  // Who is suspect has said what it said.
  nodes[2].figures.wishes = {{"chat", 1, 20}, {"bert", 2, 10}};
  nodes[0].figures.wishes = {{"chat", 3, 10}, {"bert", 0, 30}};
  EXPECT_EQ(ReplicasNow(nodes).at("chat").least(), 1);
  EXPECT_EQ(ReplicasNow(nodes).at("chat").said_ms, 20);
  EXPECT_EQ(ReplicasNow(nodes).at("bert").asked, 0);
}

}  // namespace
}  // namespace evenkeel
