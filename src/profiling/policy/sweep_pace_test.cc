#include "profiling/policy/sweep_pace.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart = Time{} + 1h;

Stint Quiet(Duration wall, double cores) {
  return {.wall = wall, .core_s = Seconds(wall) * cores, .wait_s = 0};
}

// One stint, begun at `now`; returns whether it counts.
bool RunStint(SweepPace& pace, const Stint& stint, const ServingState& serving, Time now) {
  pace.Began(now);
  return pace.Ended(stint, serving, now + stint.wall);
}

TEST(SweepPaceTest, PausesNineTimesAsLongWhileTheNodeServes) {
  SweepPace pace({.share = 0.1, .cores = 2});
  const ServingState serving{.last_arrival = kStart + 15ms};
  EXPECT_TRUE(pace.MayBegin(serving, kStart).run);
  EXPECT_TRUE(RunStint(pace, Quiet(20ms, 2), serving, kStart));
  const auto verdict = pace.MayBegin(serving, kStart + 20ms);
  EXPECT_FALSE(verdict.run);
  EXPECT_EQ(verdict.look_again, kStart + 200ms);
  EXPECT_TRUE(pace.MayBegin(serving, kStart + 200ms).run);
}

TEST(SweepPaceTest, OneThreadOfTwoCoresMayRunTwiceAsOften) {
  SweepPace pace({.share = 0.1, .cores = 2});
  const ServingState serving{.last_arrival = kStart};
  RunStint(pace, Quiet(20ms, 1), serving, kStart);
  EXPECT_EQ(pace.MayBegin(serving, kStart + 20ms).look_again, kStart + 100ms);
}

TEST(SweepPaceTest, RunsFreelyWhileNothingIsAsked) {
  SweepPace pace({.share = 0.1, .cores = 1, .free_after = 5s});
  RunStint(pace, Quiet(1s, 1), {}, kStart);
  EXPECT_TRUE(pace.MayBegin({}, kStart + 1s).run);  // nothing ever came
  const ServingState silent{.last_arrival = kStart - 5s};
  EXPECT_TRUE(pace.MayBegin(silent, kStart + 1s).run);
}

TEST(SweepPaceTest, LooksAgainWhenSilenceWouldFreeIt) {
  SweepPace pace({.share = 0.1, .cores = 1, .free_after = 5s});
  const ServingState serving{.last_arrival = kStart};
  RunStint(pace, Quiet(2s, 1), serving, kStart);
  EXPECT_EQ(pace.MayBegin(serving, kStart + 2s).look_again, kStart + 5s);
  EXPECT_TRUE(pace.MayBegin(serving, kStart + 5s).run);
}

TEST(SweepPaceTest, WaitsForAQueueToGoAlsoWhenNothingComesAnyMore) {
  SweepPace pace({.cores = 2});
  const ServingState queue{.last_arrival = kStart - 10s, .worst_wait = SweepPace::kQueueShare};
  EXPECT_FALSE(pace.MayBegin(queue, kStart).run);
  EXPECT_EQ(pace.MayBegin(queue, kStart).look_again, kStart + SweepPace::kLook);
}

TEST(SweepPaceTest, StintInWhichAQueueFormedIsThrownAway) {
  SweepPace pace({.cores = 2});
  const ServingState queue{.last_arrival = kStart, .worst_wait = 0.2};
  EXPECT_FALSE(RunStint(pace, Quiet(20ms, 1), queue, kStart));
  EXPECT_FALSE(pace.MayBegin({.last_arrival = kStart}, kStart + 20ms).run);  // and is paid for
}

TEST(SweepPaceTest, StintThatWaitedForCoresIsThrownAwayUntilThatIsTheRule) {
  SweepPace pace({.cores = 1});
  const Stint disturbed{.wall = 20ms, .core_s = 0.01, .wait_s = 0.01};
  for (int i = 0; i < SweepPace::kMostDisturbed; ++i)
    EXPECT_FALSE(RunStint(pace, disturbed, {}, kStart + i * 1s));
  EXPECT_TRUE(RunStint(pace, disturbed, {}, kStart + 60s));
  EXPECT_TRUE(RunStint(pace, disturbed, {}, kStart + 61s));
  EXPECT_TRUE(RunStint(pace, Quiet(20ms, 1), {}, kStart + 62s));
  EXPECT_FALSE(RunStint(pace, disturbed, {}, kStart + 63s));  // a quiet one: it can be had
}

TEST(SweepPaceTest, AFewPercentOfWaitingAreADisturbance) {
  SweepPace pace({.cores = 1});
  EXPECT_TRUE(RunStint(pace, {.wall = 20ms, .core_s = 0.019, .wait_s = 0.0009}, {}, kStart));
  EXPECT_FALSE(RunStint(pace, {.wall = 20ms, .core_s = 0.018, .wait_s = 0.0011}, {}, kStart + 1s));
}

// Whatever stints there are, while the node serves they get at most their share, but for the last one.
RC_GTEST_PROP(SweepPaceTest, NeverTakesMoreThanItsShare, ()) {
  const int cores = *rc::gen::inRange(1, 9);
  SweepPace pace({.share = 0.1, .cores = cores});
  Time now = kStart;
  double used = 0;
  for (int i = 0; i < 30; ++i) {
    const ServingState serving{.last_arrival = now};
    const auto verdict = pace.MayBegin(serving, now);
    if (!verdict.run) {
      RC_ASSERT(verdict.look_again > now);
      now = verdict.look_again;
      continue;
    }
    RC_ASSERT(used <= 0.1 * cores * Seconds(now - kStart) + 1e-6);
    const auto wall = std::chrono::milliseconds(*rc::gen::inRange(1, 500));
    const double threads = *rc::gen::inRange(1, cores + 1);
    RunStint(pace, Quiet(wall, threads), serving, now);
    used += Seconds(wall) * threads;
    now += wall;
  }
}

}  // namespace
}  // namespace evenkeel
