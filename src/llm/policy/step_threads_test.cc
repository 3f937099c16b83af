#include "llm/policy/step_threads.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

// A machine of so many cores of which some are burnt by others: what n threads get, and how long a step takes.
struct Machine {
  int cores = 2, burnt = 0;
  double Got(int threads) const {
    // All go at the pace of the one that shares its core, and sleep meanwhile.
    return threads <= cores - burnt ? 0.9 * threads : 0.5 * threads;
  }
};

struct Worker {
  StepThreads threads;
  Time now{};
  int steps = 0, fewer = 0;
  void For(Duration span, const Machine& machine, int permitted) {
    const Time end = now + span;
    steps = fewer = 0;
    while (now < end) {
      const int n = threads.Choose(permitted, now);
      ASSERT_GE(n, 1);
      ASSERT_LE(n, permitted);
      const double got = machine.Got(n);
      const Duration took(static_cast<int64_t>(8e6 / got));
      now += took;
      threads.Observe(Duration(8'000'000), took, now);
      ++steps;
      fewer += n < permitted ? 1 : 0;
    }
  }
};

TEST(StepThreadsTest, TakesAllThatIsPermittedWhileTheCoresAreFree) {
  Worker run;
  run.For(5s, {}, 2);
  EXPECT_EQ(run.fewer, 0);
  EXPECT_EQ(StepThreads().Choose(1, Time{}), 1);
}

TEST(StepThreadsTest, LeavesABurntCoreAndComesBack) {
  Worker run;
  run.For(1s, {}, 2);
  run.For(1s, {2, 1}, 2);
  run.For(20s, {2, 1}, 2);
  EXPECT_GT(run.fewer, 0.97 * run.steps);  // the rest are trials
  run.For(StepThreads::kMostTry + 1s, {}, 2);
  run.For(1s, {}, 2);
  EXPECT_EQ(run.fewer, 0);
}

TEST(StepThreadsTest, OfManyThreadsOnlyTheLastGoes) {
  Worker run;
  const Machine machine{16, 1};
  run.For(30s, machine, 16);
  run.For(5s, machine, 16);
  EXPECT_EQ(run.threads.Choose(16, run.now - 10s), 15);
}

TEST(StepThreadsTest, OneStepThatWasHeldUpDecidesNothing) {
  StepThreads threads;
  Time now{};
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(threads.Choose(2, now), 2);
    const Duration took = i % 20 == 19 ? 20ms : 4ms;
    now += took;
    threads.Observe(7600us, took, now);
  }
}

TEST(StepThreadsTest, AnotherNumberThatIsPermittedCountsAtOnce) {
  Worker run;
  run.For(2s, {4, 3}, 4);
  EXPECT_LT(run.threads.Choose(4, run.now - 10s), 4);
  EXPECT_EQ(run.threads.Choose(2, run.now), 2);
  EXPECT_EQ(run.threads.Choose(4, run.now), 4);
}

TEST(StepThreadsTest, ATrialEndsWhereAnotherNumberIsPermitted) {
  StepThreads threads;
  Time now{};
  for (int i = 0; i < StepThreads::kSure; ++i) {
    threads.Choose(2, now);
    threads.Observe(1ms, 4ms, now += 4ms);
  }
  EXPECT_EQ(threads.Choose(2, now), 1);
  now += StepThreads::kTry;
  EXPECT_EQ(threads.Choose(2, now), 2);  // tried, and nothing seen of it
  EXPECT_EQ(threads.Choose(1, now), 1);
  threads.Observe(1ms, 4ms, now += 4ms);
  EXPECT_EQ(threads.Choose(1, now), 1);
}

RC_GTEST_PROP(StepThreadsProperty, StaysWithinWhatIsPermitted, ()) {
  StepThreads threads;
  Time now{};
  for (int i = 0; i < 200; ++i) {
    const int permitted = *rc::gen::inRange(1, 9);
    const int n = threads.Choose(permitted, now);
    RC_ASSERT(n >= 1 && n <= permitted);
    const Duration took(*rc::gen::inRange(0, 50'000'000));
    now += took;
    threads.Observe(Duration(*rc::gen::inRange(0, 100'000'000)), took, now);
  }
}

}  // namespace
}  // namespace evenkeel::policy
