#include "batching/policy/standing_cores.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

int Sum(const std::vector<int>& values) { return std::accumulate(values.begin(), values.end(), 0); }

std::vector<StandingClaim> Claims(int count, int most) {
  std::vector<StandingClaim> claims(static_cast<size_t>(count));
  for (StandingClaim& claim : claims) claim = {.wants = true, .most = most};
  return claims;
}

TEST(StandingCoresTest, TargetsAreNeverMoreThanThereIsOrCanBeUsed) {
  EXPECT_TRUE(rc::check([] {
    StandingCores cores;
    const int count = *rc::gen::inRange(0, 5), node = *rc::gen::inRange(1, 9);
    Time now(1s);
    for (int round = 0; round < 20; ++round) {
      std::vector<StandingClaim> claims;
      for (int i = 0; i < count; ++i) {
        claims.push_back({.wants = *rc::gen::arbitrary<bool>(),
                          .most = *rc::gen::inRange(1, 12),
                          .weight = *rc::gen::inRange(1, 4) / 2.0,
                          .step = std::chrono::milliseconds(*rc::gen::inRange(0, 300)),
                          .held = *rc::gen::inRange(0, node + 1)});
      }
      StandingView view;
      view.cores = node;
      view.pressed = *rc::gen::arbitrary<bool>();
      view.widest = view.pressed ? *rc::gen::inRange(1, node + 1) : 0;
      view.batch_cores = *rc::gen::inRange(view.widest, node + 1);
      view.claims = claims;
      const std::vector<int> targets = cores.Targets(view, now);
      RC_ASSERT(targets.size() == claims.size());
      RC_ASSERT(Sum(targets) <= node);
      int wanting = 0;
      for (size_t i = 0; i < claims.size(); ++i) {
        RC_ASSERT(targets[i] >= 0 && targets[i] <= (claims[i].wants ? claims[i].most : 0));
        wanting += claims[i].wants ? 1 : 0;
      }
      if (!view.pressed && wanting > 0) {
        RC_ASSERT(Sum(targets) >= 1);
      }
      RC_ASSERT(cores.entitled() >= 0 && cores.entitled() <= node);
      now += std::chrono::milliseconds(*rc::gen::inRange(0, 100));
    }
  }));
}

TEST(StandingCoresTest, AloneItHasAllThatItCanUse) {
  StandingCores cores;
  const auto one = Claims(1, 2);
  EXPECT_EQ(cores.Targets({.cores = 4, .claims = one}, Time(1s)), (std::vector<int>{2}));
  const auto two = Claims(2, 4);
  EXPECT_EQ(cores.Targets({.cores = 4, .claims = two}, Time(1s)), (std::vector<int>{2, 2}));
}

TEST(StandingCoresTest, ABatchOfOneCoreIsGivenOneOfTwo) {
  StandingCores cores;
  auto claims = Claims(1, 2);
  claims[0].held = 2;
  EXPECT_EQ(
      cores.Targets({.cores = 2, .pressed = true, .widest = 1, .batch_cores = 1, .claims = claims},
                    Time(1s)),
      (std::vector<int>{1}));
  // While it runs it is left its core; when nothing of it is left, the language model has both.
  claims[0].held = 1;
  EXPECT_EQ(cores.Targets({.cores = 2, .batch_cores = 1, .claims = claims}, Time(1s)),
            (std::vector<int>{1}));
  EXPECT_EQ(cores.Targets({.cores = 2, .claims = claims}, Time(1s)), (std::vector<int>{2}));
}

TEST(StandingCoresTest, OnManyCoresBatchesGetWhatTheyAskForAndNoMore) {
  StandingCores cores;
  const auto claims = Claims(1, 8);
  EXPECT_EQ(
      cores.Targets({.cores = 8, .pressed = true, .widest = 1, .batch_cores = 1, .claims = claims},
                    Time(1s)),
      (std::vector<int>{7}));
  EXPECT_EQ(
      cores.Targets({.cores = 8, .pressed = true, .widest = 1, .batch_cores = 8, .claims = claims},
                    Time(1s)),
      (std::vector<int>{4}));
}

// A node in which batches of `width` cores and `length` always wait, and one language model runs steps: what each side had of the cores.
struct Shared {
  double batches = 0, language = 0, longest_pause = 0, longest_wait = 0;  // core-seconds; seconds
};
Shared Share(int cores, int width, Duration length, Duration step, double weight) {
  StandingCores shares;
  Shared had;
  const Time start(1s);
  Time now = start, batch_end{}, step_end{}, paused = start, waited = start;
  int held = 0, granted = 0, target = 0;  // of the step that runs; from the next on; wanted
  bool batch = false;
  while (now < start + 20s) {
    if (batch && now >= batch_end) {
      batch = false;
      waited = now;
    }
    // As the scheduler does it: what there is room for, then the targets, then what these made room for.
    for (int look = 0; look < 2; ++look) {
      const int mine = std::max(held, granted);
      if (!batch && cores - std::max(mine, target) >= width) {
        batch = true;
        batch_end = now + length;
        had.longest_wait = std::max(had.longest_wait, Seconds(now - waited));
      }
      std::vector<StandingClaim> claims = {
          {.wants = true, .most = cores, .step = step, .held = mine}};
      target = shares.Targets({.cores = cores,
                               .pressed = !batch,
                               .widest = batch ? 0 : width,
                               .batch_cores = width,
                               .batch_weight = weight,
                               .claims = claims},
                              now)[0];
    }
    granted = std::min(target, cores - (batch ? width : 0));
    // A change is taken between steps.
    if (now >= step_end) {
      held = granted;
      if (held > 0) {
        step_end = now + step;
        had.longest_pause = std::max(had.longest_pause, Seconds(now - paused));
        paused = step_end;
      }
    }
    EXPECT_LE(held + (batch ? width : 0), cores);
    if (testing::Test::HasFailure()) return had;
    had.batches += batch ? width * 1e-3 : 0;
    had.language += held * 1e-3;
    now += 1ms;
  }
  return had;
}

TEST(StandingCoresTest, OnOneCoreTheyTakeTurnsByTheirShares) {
  const Shared even = Share(1, 1, 5ms, 10ms, 1);
  EXPECT_NEAR(even.language, 10, 2);
  EXPECT_NEAR(even.batches, 10, 2);
  EXPECT_LT(even.longest_pause, 0.1);
  EXPECT_LT(even.longest_wait, 0.1);
  const Shared three = Share(1, 1, 5ms, 10ms, 3);
  EXPECT_NEAR(three.language, 5, 1.5);
  EXPECT_NEAR(three.batches, 15, 2);
}

TEST(StandingCoresTest, ABatchOfAllCoresGetsItsTurn) {
  const Shared wide = Share(2, 2, 20ms, 30ms, 1);
  EXPECT_NEAR(wide.language, 20, 5);
  EXPECT_NEAR(wide.batches, 20, 5);
  EXPECT_LT(wide.longest_pause, 0.3);
  EXPECT_LT(wide.longest_wait, 0.3);
}

TEST(StandingCoresTest, BesideNarrowBatchesNobodyPauses) {
  const Shared narrow = Share(2, 1, 5ms, 10ms, 1);
  EXPECT_GT(narrow.language, 19.8);
  EXPECT_GT(narrow.batches, 17);
  EXPECT_LT(narrow.longest_pause, 0.005);
}

TEST(StandingCoresTest, MoreLanguageModelsThanCoresTakeTurns) {
  StandingCores cores;
  auto claims = Claims(3, 1);
  std::vector<double> had(3, 0);
  Time now(1s);
  for (int i = 0; i < 3000; ++i, now += 10ms) {
    const auto targets = cores.Targets({.cores = 1, .claims = claims}, now);
    for (size_t c = 0; c < 3; ++c) {
      claims[c].held = targets[c];
      had[c] += targets[c] * 0.01;
    }
  }
  for (const double one : had) EXPECT_NEAR(one, 10, 1);
}

// As the header says it, one core at a time by brute force.
TEST(StandingCoresTest, WholeCoresAreSharedAsEvenlyAsTheyCanBe) {
  EXPECT_TRUE(rc::check([] {
    std::vector<StandingClaim> claims = Claims(*rc::gen::inRange(1, 5), 1);
    for (StandingClaim& claim : claims) claim.most = *rc::gen::inRange(1, 5);
    const std::vector<double> lags(claims.size(), 0);
    const int budget = *rc::gen::inRange(0, 12);
    const auto given = ShareWhole(claims, lags, budget);
    int room = 0;
    for (const StandingClaim& claim : claims) room += claim.most;
    RC_ASSERT(Sum(given) == std::min(budget, room));
    for (size_t i = 0; i < claims.size(); ++i) {
      for (size_t j = 0; j < claims.size(); ++j) {
        // Nobody has two more than another who could use one.
        if (given[j] < claims[j].most) {
          RC_ASSERT(given[i] <= given[j] + 1);
        }
      }
    }
  }));
}

}  // namespace
}  // namespace evenkeel::policy
