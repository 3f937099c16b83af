#include "llm/policy/llm_load_table.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <map>
#include <utility>

namespace evenkeel::policy {
namespace {

using std::chrono::milliseconds;

LlmLoadTable Filled(int threads, std::initializer_list<std::pair<int, int>> step_ms) {
  LlmLoadTable table;
  for (const auto& [sequences, ms] : step_ms)
    table.Put({{threads, sequences, 128, 0}, ms / 1e3, 0, 10});
  return table;
}

TEST(LlmLoadTableTest, CellsAreFixedPointsAndNoLargerThanTheirClass) {
  EXPECT_TRUE(rc::check([] {
    const StepCell step{*rc::gen::inRange(1, 64), *rc::gen::inRange(0, 300),
                        *rc::gen::inRange(0, 100'000), *rc::gen::inRange(0, 600)};
    const StepCell cell = LlmLoadTable::CellOf(step);
    RC_ASSERT(LlmLoadTable::CellOf(cell) == cell);
    RC_ASSERT(cell.threads == step.threads);
    if (step.prompt_tokens > 0) {
      RC_ASSERT(cell.sequences == 0 && cell.depth == 0);
      RC_ASSERT(cell.prompt_tokens >= step.prompt_tokens);
      RC_ASSERT(cell.prompt_tokens < 2 * std::max(step.prompt_tokens, 16));
    } else {
      RC_ASSERT(cell.prompt_tokens == 0 && cell.sequences >= step.sequences);
      RC_ASSERT(cell.sequences - step.sequences < 8);
      RC_ASSERT(cell.depth >= step.depth && cell.depth < 2 * std::max(step.depth, 128));
    }
  }));
}

TEST(LlmLoadTableTest, OneStallMovesLittleAndALastingChangeIsFollowed) {
  LlmLoadTable table;
  const StepCell step{2, 4, 100, 0};
  for (int i = 0; i < 100; ++i) table.Observe(step, milliseconds(20));
  table.Observe(step, milliseconds(2000));
  EXPECT_LT(table.StepSeconds(2, 4, 100), 0.0201);
  for (int i = 0; i < 2000; ++i) table.Observe(step, milliseconds(40));
  EXPECT_NEAR(table.StepSeconds(2, 4, 100), 0.040, 0.001);
}

TEST(LlmLoadTableTest, AStallAtFirstIsForgotten) {
  LlmLoadTable table;
  const StepCell step{1, 1, 100, 0};
  table.Observe(step, milliseconds(500));
  table.Observe(step, milliseconds(10));
  table.Observe(step, milliseconds(10));
  EXPECT_NEAR(table.StepSeconds(1, 1, 100), 0.010, 1e-9);
}

TEST(LlmLoadTableTest, TheMeanLiesWithinWhatWasSeen) {
  EXPECT_TRUE(rc::check([] {
    LlmLoadTable table;
    double least = INFINITY, most = 0;
    const int steps = *rc::gen::inRange(1, 200);
    for (int i = 0; i < steps; ++i) {
      const int us = *rc::gen::inRange(1, 1'000'000);
      table.Observe({1, 1, 0, 0}, std::chrono::microseconds(us));
      least = std::min(least, us / 1e6);
      most = std::max(most, us / 1e6);
    }
    const double mean = table.StepSeconds(1, 1, 0);
    RC_ASSERT(mean >= least * (1 - 1e-6) && mean <= most * (1 + 1e-6));
  }));
}

// The slow reading of the header: of each number the row of the nearest depth, then lines between.
double Reference(const LlmLoadTable& table, int threads, int sequences, int depth) {
  std::map<int, std::pair<double, double>> best;  // by sequences: distance, seconds
  for (const StepRow& row : table.rows()) {
    if (row.cell.threads != threads || row.cell.sequences == 0) continue;
    const double distance = std::abs(std::log(static_cast<double>(row.cell.depth) / depth));
    const auto at = best.find(row.cell.sequences);
    if (at == best.end() || distance < at->second.first)
      best[row.cell.sequences] = {distance, row.mean_s};
  }
  if (best.empty()) return 0;
  const auto above = best.lower_bound(sequences);
  if (above == best.end()) return best.rbegin()->second.second * sequences / best.rbegin()->first;
  if (above->first == sequences || above == best.begin()) return above->second.second;
  const auto below = std::prev(above);
  const double share =
      static_cast<double>(sequences - below->first) / (above->first - below->first);
  return below->second.second + share * (above->second.second - below->second.second);
}

TEST(LlmLoadTableTest, StepsOfAnySizeAreAsTheSlowReadingHasThem) {
  EXPECT_TRUE(rc::check([] {
    LlmLoadTable table;
    const int rows = *rc::gen::inRange(0, 20);
    for (int i = 0; i < rows; ++i) {
      const StepCell cell = LlmLoadTable::CellOf(
          {*rc::gen::inRange(1, 3), *rc::gen::inRange(1, 40), *rc::gen::inRange(1, 5000), 0});
      table.Put({cell, *rc::gen::inRange(1, 1000) / 1e3, 0, 1});
    }
    const int threads = *rc::gen::inRange(1, 4), sequences = *rc::gen::inRange(1, 60);
    const int depth = *rc::gen::inRange(1, 5000);
    const double expected = Reference(table, threads, sequences, depth);
    RC_ASSERT(std::abs(table.StepSeconds(threads, sequences, depth) - expected) <=
              1e-4 * expected + 1e-8);
  }));
}

TEST(LlmLoadTableTest, AStepOfBothTellsWhatItsPromptTook) {
  LlmLoadTable table = Filled(2, {{1, 10}, {4, 20}});
  table.Observe({2, 4, 100, 100}, milliseconds(120));
  EXPECT_NEAR(table.PromptTokenSeconds(2, 100), 0.001, 1e-6);
  // Without a row of its answers it tells nothing; nor does one of few tokens.
  LlmLoadTable empty;
  empty.Observe({2, 4, 100, 100}, milliseconds(120));
  empty.Observe({2, 0, 0, 15}, milliseconds(20));
  EXPECT_TRUE(empty.empty());
}

TEST(LlmLoadTableTest, RowsAreBoundedAndTheLatestStay) {
  LlmLoadTable table;
  for (int threads = 1; threads <= 400; ++threads) {
    table.Observe({threads, 1, 0, 0}, milliseconds(1));
    table.Observe({threads, 2, 0, 0}, milliseconds(1));
  }
  EXPECT_EQ(table.rows().size(), LlmLoadTable::kMostRows);
  EXPECT_TRUE(table.Knows({400, 2, 0, 0}, 1));
  EXPECT_FALSE(table.Knows({1, 1, 0, 0}, 1));
}

TEST(LlmLoadTableTest, WhatWasNotObservedSinceIsForgotten) {
  LlmLoadTable table = Filled(1, {{1, 10}, {4, 20}});
  const uint64_t mark = table.mark();
  table.Observe({1, 4, 100, 0}, milliseconds(20));
  table.ForgetBefore(mark);
  ASSERT_EQ(table.rows().size(), 1u);
  EXPECT_EQ(table.rows().front().cell.sequences, 4);
  EXPECT_EQ(table.Threads(), std::vector<int>{1});
}

}  // namespace
}  // namespace evenkeel::policy
