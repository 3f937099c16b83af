#include "llm/policy/llm_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "llm/policy/llm_sweep_plan.h"

namespace evenkeel::policy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// T(b) = (a + c b) / threads^0.8, for 1, 4, 16 and 64 sequences; a prompt token takes p.
LlmLoadTable Table(std::initializer_list<int> threads, double a = 0.008, double c = 0.003,
                   double p = 0.001) {
  LlmLoadTable table;
  for (const int t : threads) {
    const double faster = std::pow(t, 0.8);
    for (const int b : {1, 4, 16, 64}) table.Put({{t, b, 128, 0}, (a + c * b) / faster, 0, 10});
    table.Put({{t, 0, 0, 128}, 128 * p / faster, 0, 10});
  }
  table.memory.cell_bytes = 1000;
  return table;
}

LlmLimits Limits(int cores) {
  LlmLimits limits;
  limits.cores = cores;
  limits.context = 1024;
  limits.memory_bytes = int64_t{1} << 40;
  return limits;
}

TEST(LlmChoiceTest, SlotsAreTheMostWhoseStepKeepsTheObjective) {
  EXPECT_TRUE(rc::check([] {
    const LlmLoadTable table =
        Table({1, 2}, *rc::gen::inRange(1, 40) / 1e3, *rc::gen::inRange(1, 20) / 1e3);
    LlmObjectives objectives;
    objectives.inter_token = milliseconds(*rc::gen::inRange(1, 400));
    const LlmChoice choice = ChooseLlm(table, {}, objectives, Limits(2), {2, 16, 4096, 0});
    // Steps only grow with their sequences: the slow way looks at all sizes.
    int most = 1;
    for (int b = 1; b <= kMostSlots; ++b) {
      if (table.StepSeconds(2, b, 0) <= Seconds(*objectives.inter_token)) most = b;
    }
    RC_ASSERT(choice.slots == most);
    RC_ASSERT(!choice.slots_why.empty());
  }));
}

TEST(LlmChoiceTest, WithoutAnObjectiveASequenceMoreMustPay) {
  // Dear to begin, cheap to add: many. No gain: as many as are usual.
  EXPECT_EQ(ChooseLlm(Table({2}, 0.1, 0.001), {}, {}, Limits(2), {2, 16, 4096, 0}).slots, 64);
  EXPECT_EQ(ChooseLlm(Table({2}, 0.0001, 0.01), {}, {}, Limits(2), {2, 16, 4096, 0}).slots,
            kUnstatedSlots);
}

TEST(LlmChoiceTest, NothingKnownMeansNothingChanges) {
  const LlmChoice choice =
      ChooseLlm({}, {}, {milliseconds(10), milliseconds(10)}, Limits(4), {3, 7, 999, 0});
  EXPECT_EQ(choice.threads, 3);
  EXPECT_EQ(choice.slots, 7);
  EXPECT_EQ(choice.cells, 999);
  EXPECT_THAT(choice.slots_why, HasSubstr("nothing is measured"));
}

TEST(LlmChoiceTest, WhatTheOperatorSetStands) {
  LlmLimits limits = Limits(8);
  limits.threads = 2;
  limits.slots = 3;
  limits.cells = 5000;
  LlmForecast forecast;
  forecast.long_sequence = 100;
  const LlmChoice choice =
      ChooseLlm(Table({1, 2, 4}), forecast, {{}, milliseconds(1)}, limits, {8, 16, 1, 0});
  EXPECT_EQ(choice.threads, 2);
  EXPECT_EQ(choice.slots, 3);
  EXPECT_EQ(choice.cells, 5000);
  for (const std::string& why : {choice.threads_why, choice.slots_why, choice.cells_why})
    EXPECT_THAT(why, HasSubstr("as set"));
}

TEST(LlmChoiceTest, ThreadsAreTheFewestNearTheBestOrUnderPowerSaveTheFewestThatDo) {
  // Two are no faster than one for a model that is limited by memory.
  LlmLoadTable table;
  for (const int t : {1, 2}) table.Put({{t, 1, 128, 0}, t == 1 ? 0.0102 : 0.010, 0, 10});
  EXPECT_EQ(ChooseLlm(table, {}, {}, Limits(2), {2, 16, 0, 0}).threads, 1);
  LlmLimits limits = Limits(4);
  const LlmObjectives lenient{{}, milliseconds(30)};
  EXPECT_EQ(ChooseLlm(Table({1, 2, 4}), {}, lenient, limits, {4, 16, 0, 0}).threads, 4);
  EXPECT_EQ(ChooseLlm(Table({1, 2, 4}), {}, lenient, limits, {4, 16, 0, 0}).least_threads, 1);
  limits.save_power = true;
  EXPECT_EQ(ChooseLlm(Table({1, 2, 4}), {}, lenient, limits, {4, 16, 0, 0}).threads, 1);
  // Threads that the node does not have are not chosen.
  EXPECT_LE(ChooseLlm(Table({1, 2, 4}), {}, {}, Limits(2), {2, 16, 0, 0}).threads, 2);
}

TEST(LlmChoiceTest, ExpectedSequencesServeTheForecast) {
  EXPECT_TRUE(rc::check([] {
    const LlmLoadTable table = Table({2});
    LlmForecast forecast;
    forecast.arrivals_s = *rc::gen::inRange(1, 300) / 10.0;
    forecast.answer_tokens = *rc::gen::inRange(1, 500);
    forecast.prompt_tokens = *rc::gen::inRange(0, 500);
    const LlmChoice choice = ChooseLlm(table, forecast, {}, Limits(2), {2, 16, 0, 0});
    const auto rate = [&](int b) {
      return b / (forecast.answer_tokens * table.StepSeconds(2, b, 0) +
                  b * forecast.prompt_tokens * table.PromptTokenSeconds(2, 128));
    };
    if (choice.expected < choice.slots) {
      RC_ASSERT(rate(choice.expected) >= forecast.arrivals_s);
    }
    for (int b = 1; b < choice.expected; ++b) RC_ASSERT(rate(b) < forecast.arrivals_s);
  }));
}

TEST(LlmChoiceTest, CellsFitTheMemoryAndAtLeastOneContext) {
  EXPECT_TRUE(rc::check([] {
    LlmLimits limits = Limits(2);
    limits.memory_bytes = *rc::gen::inRange<int64_t>(0, 40'000'000);
    limits.context = *rc::gen::inRange(16, 10'000);
    LlmForecast forecast;
    forecast.long_sequence = *rc::gen::inRange(0, 5000);
    const LlmPresent present{2, 16, *rc::gen::inRange<int64_t>(16, 50'000), 0};
    const LlmChoice choice = ChooseLlm(Table({2}), forecast, {}, limits, present);
    if (forecast.long_sequence == 0) {
      RC_ASSERT(choice.cells == present.cells);
      return;
    }
    RC_ASSERT(choice.cells >= limits.context);
    RC_ASSERT(choice.cells <= std::max(limits.context, choice.slots * limits.context));
    if (limits.memory_bytes > 0)
      RC_ASSERT(choice.cells * 1000 <= std::max(limits.memory_bytes, limits.context * 1000));
  }));
}

TEST(LlmChoiceTest, AWorkersMemoryHoldsItsCells) {
  EXPECT_TRUE(rc::check([] {
    LlmMemory memory;
    memory.weight_bytes = *rc::gen::inRange<int64_t>(1, int64_t{1} << 34);
    memory.cell_bytes = *rc::gen::inRange<int64_t>(1, 1 << 20);
    memory.other_bytes = *rc::gen::inRange<int64_t>(1, int64_t{1} << 30);
    const auto cells = *rc::gen::inRange<int64_t>(0, 1 << 18);
    const int64_t bytes = WorkerBytes(memory, cells);
    RC_ASSERT(bytes >= memory.weight_bytes + cells * memory.cell_bytes + memory.other_bytes);
    RC_ASSERT(WorkerBytes(memory, cells + 1) > bytes);
  }));
  EXPECT_EQ(WorkerBytes({}, 100), 0);
}

TEST(LlmChoiceTest, AContainerIsNeverTooSmallAndFollowsOnlyWhatIsWorthIt) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  EXPECT_EQ(ContainerBytes(0, 0), 0);
  EXPECT_EQ(ContainerBytes(0, 512 * kMiB), 0) << "nothing is known";
  EXPECT_EQ(ContainerBytes(1, 0), 64 * kMiB);
  EXPECT_EQ(ContainerBytes(500 * kMiB, 0), 512 * kMiB);
  EXPECT_EQ(ContainerBytes(513 * kMiB, 512 * kMiB), 576 * kMiB);
  EXPECT_EQ(ContainerBytes(400 * kMiB, 512 * kMiB), 512 * kMiB);
  EXPECT_EQ(ContainerBytes(300 * kMiB, 512 * kMiB), 320 * kMiB);
  EXPECT_TRUE(rc::check([] {
    const auto needed = *rc::gen::inRange<int64_t>(1, int64_t{1} << 36);
    const auto present = *rc::gen::inRange<int64_t>(0, int64_t{1} << 36) / (64 * kMiB) * 64 * kMiB;
    const int64_t bytes = ContainerBytes(needed, present);
    RC_ASSERT(bytes >= needed && bytes % (64 * kMiB) == 0);
    RC_ASSERT(ContainerBytes(needed, bytes) == bytes);
  }));
}

TEST(LlmSweepPlanTest, EndsOnceEverythingIsKnownAndAsksForNothingTwice) {
  EXPECT_TRUE(rc::check([] {
    const int cores = *rc::gen::inRange(1, 17), slots = *rc::gen::inRange(1, 65);
    LlmLoadTable table;
    int cells = 0;
    for (; cells < 200; ++cells) {
      const auto cell = NextSweepCell(table, cores, slots);
      if (!cell) break;
      RC_ASSERT(cell->threads >= 1 && cell->threads <= cores);
      RC_ASSERT(cell->sequences >= 1 && cell->sequences <= slots);
      RC_ASSERT(cell->prompt_tokens >= kLeastSweepPrompt &&
                cell->prompt_tokens <= kMostSweepPrompt);
      // What running it tells.
      table.Observe(
          {cell->threads, 0, 0, cell->prompt_tokens},
          cell->prompt_tokens * std::chrono::microseconds(*rc::gen::inRange(100, 20'000)));
      for (int i = 0; i < 2; ++i)
        table.Observe({cell->threads, cell->sequences, cell->prompt_tokens, 0}, milliseconds(10));
    }
    RC_ASSERT(cells < 200);
    RC_ASSERT(table.Knows({cores, slots, 0, 0}) && table.Knows({1, 1, 0, 0}));
  }));
}

TEST(LlmSweepPlanTest, BeginsWithAllCores) {
  EXPECT_EQ(NextSweepCell({}, 2, 16), (SweepCell{2, 1, kLeastSweepPrompt}));
}

}  // namespace
}  // namespace evenkeel::policy
