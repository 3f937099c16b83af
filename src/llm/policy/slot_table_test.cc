#include "llm/policy/slot_table.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace evenkeel::policy {
namespace {

std::vector<int32_t> Count(int from, int n) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

TEST(SlotTableTest, AConversationGoesOnInTheSlotWhereItEnded) {
  SlotTable table(2, 100, true, [](int) {});
  const auto first = table.Acquire(Count(0, 20), 30).value();
  EXPECT_EQ(first.reused, 0);
  table.Computed(first.slot, Count(0, 25));
  table.Keep(first.slot);
  EXPECT_EQ(table.free_cells(), 75);
  const auto second = table.Acquire(Count(0, 40), 50).value();
  EXPECT_EQ(second.slot, first.slot);
  EXPECT_EQ(second.copy_from, -1);
  EXPECT_EQ(second.reused, 25);
}

TEST(SlotTableTest, ARunningSequenceLendsWhatItHasComputed) {
  SlotTable table(3, 100, true, [](int) {});
  const auto leader = table.Acquire(Count(0, 20), 25).value();
  table.Computed(leader.slot, Count(0, 20));
  const auto other = table.Acquire(Count(0, 20), 25).value();
  EXPECT_NE(other.slot, leader.slot);
  EXPECT_EQ(other.copy_from, leader.slot);
  EXPECT_EQ(other.reused,
            19);  // the last token is computed again: somebody must tell what follows it
}

TEST(SlotTableTest, AnotherBeginningLeavesWhatIsKeptAlone) {
  SlotTable table(3, 100, true, [](int) {});
  const auto first = table.Acquire(Count(0, 20), 20).value();
  table.Computed(first.slot, Count(0, 20));
  table.Keep(first.slot);
  auto fork = Count(0, 5);
  for (const int32_t token : Count(50, 10)) fork.push_back(token);
  const auto second = table.Acquire(fork, 20).value();
  EXPECT_NE(second.slot, first.slot);
  EXPECT_EQ(second.copy_from, first.slot);
  EXPECT_EQ(second.reused, 5);
}

TEST(SlotTableTest, WhatIsKeptGivesWayToWhatRuns) {
  std::vector<int> released;
  SlotTable table(2, 40, true, [&](int slot) { released.push_back(slot); });
  const auto first = table.Acquire(Count(0, 20), 20).value();
  table.Computed(first.slot, Count(0, 20));
  table.Keep(first.slot);
  const auto second = table.Acquire(Count(100, 10), 15).value();
  EXPECT_TRUE(released.empty());
  EXPECT_TRUE(table.Grow(second.slot, 40));
  EXPECT_EQ(released, std::vector<int>{first.slot});
  EXPECT_FALSE(table.Acquire(Count(0, 1), 1).has_value());
}

// Whatever is asked in whatever order: never more booked than there is, a refusal changes nothing, and what is said to be reused is there.
TEST(SlotTableTest, BooksNeverExceedTheCache) {
  EXPECT_TRUE(rc::check([] {
    const int slots = *rc::gen::inRange(1, 6);
    const int cells = *rc::gen::inRange(20, 200);
    // What a cache would hold, kept by the test.
    std::map<int, std::vector<int32_t>> cache;
    SlotTable table(slots, cells, *rc::gen::arbitrary<bool>(),
                    [&](int slot) { cache.erase(slot); });
    std::vector<int> running;
    for (int round = 0; round < 60; ++round) {
      const int what = *rc::gen::inRange(0, 4);
      if (what == 0 || running.empty()) {
        const auto tokens = Count(*rc::gen::inRange(0, 3) * 1000, *rc::gen::inRange(1, 20));
        const int book =
            std::min(cells, static_cast<int>(tokens.size()) + *rc::gen::inRange(0, 60));
        const auto before = cache;
        const auto place = table.Acquire(tokens, book);
        if (!place) {
          RC_ASSERT(cache == before);
          continue;
        }
        RC_ASSERT(std::ranges::find(running, place->slot) == running.end());
        const int source = place->copy_from >= 0 ? place->copy_from : place->slot;
        std::vector<int32_t> prefix;
        if (place->reused > 0) {
          RC_ASSERT(static_cast<int>(cache[source].size()) >= place->reused);
          prefix.assign(cache[source].begin(), cache[source].begin() + place->reused);
        }
        RC_ASSERT(place->reused < static_cast<int>(tokens.size()));
        RC_ASSERT(std::ranges::equal(prefix, std::span(tokens).first(prefix.size())));
        const auto rest = std::span(tokens).subspan(prefix.size());
        table.Computed(place->slot, rest);
        cache[place->slot] = tokens;
        running.push_back(place->slot);
      } else {
        const size_t which = *rc::gen::inRange<size_t>(0, running.size());
        const int slot = running[which];
        if (what == 1) {
          static_cast<void>(table.Grow(slot, std::min(cells, table.booked(slot) + 10)));
        } else {
          running.erase(running.begin() + static_cast<ptrdiff_t>(which));
          if (what == 2) table.Keep(slot);
          if (what == 3) table.Drop(slot);
        }
      }
      RC_ASSERT(table.free_cells() >= 0);
      int held = 0;
      for (const auto& [slot, tokens] : cache) held += static_cast<int>(tokens.size());
      RC_ASSERT(held == table.held_cells() && held <= cells);
      RC_ASSERT(table.running() == static_cast<int>(running.size()));
    }
    for (const int slot : running) table.Drop(slot);
    // Nothing leaks: everything can be had by one.
    RC_ASSERT(table.Acquire(Count(5000, 1), cells).has_value());
  }));
}

}  // namespace
}  // namespace evenkeel::policy
