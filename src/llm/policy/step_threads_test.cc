#include "llm/policy/step_threads.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <vector>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

// A machine of so many cores of which some are burnt by others: what n threads get of the wall time together.
struct Machine {
  int cores = 2, burnt = 0;
  double Got(const StepThreads::Choice& choice) const {
    const int free = cores - burnt;
    if (choice.threads <= free) return 0.95 * choice.threads;
    // Those who share a core have half of it; where they wait for each other the others have no more.
    return choice.come_and_go ? 0.95 * free + 0.5 * (choice.threads - free) : 0.5 * choice.threads;
  }
};

struct Worker {
  StepThreads threads;
  Time now{};
  // Of so many steps of 8 ms, those whose threads come and go.
  int Run(int steps, const Machine& machine, int permitted) {
    int coming = 0;
    for (int i = 0; i < steps; ++i) {
      const auto choice = threads.Choose(permitted, now);
      EXPECT_EQ(choice.threads, permitted);
      coming += choice.come_and_go ? 1 : 0;
      threads.Observe(Duration(static_cast<int64_t>(machine.Got(choice) * 8e6)), 8ms, now += 8ms);
    }
    return coming;
  }
};

TEST(StepThreadsTest, WorkTogetherWhileTheCoresAreFree) {
  Worker worker;
  EXPECT_EQ(worker.Run(500, {}, 2), 0);
  EXPECT_FALSE(StepThreads().Choose(1, Time{}).come_and_go);
}

TEST(StepThreadsTest, ComeAndGoWhereACoreIsBurntAndNoLonger) {
  Worker worker;
  worker.Run(100, {}, 2);
  worker.Run(125, {2, 1}, 2);
  EXPECT_GT(worker.Run(2500, {2, 1}, 2), 0.99 * 2500);  // the rest are trials
  worker.Run(1 + static_cast<int>(StepThreads::kMostTry / 8ms), {}, 2);
  EXPECT_EQ(worker.Run(500, {}, 2), 0);
}

TEST(StepThreadsTest, OfManyOneWhoseCoreIsBurntHoldsUpNobody) {
  for (const int cores : {3, 8, 16}) {
    Worker worker;
    worker.Run(125, {cores, 1}, cores);
    EXPECT_GT(worker.Run(2500, {cores, 1}, cores), 0.99 * 2500) << cores;
  }
}

TEST(StepThreadsTest, OneStepThatWasHeldUpDecidesNothing) {
  StepThreads threads;
  Time now{};
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(threads.Choose(2, now).come_and_go);
    const Duration took = i % 20 == 19 ? 20ms : 4ms;
    threads.Observe(7600us, took, now += took);
  }
}

TEST(StepThreadsTest, ATrialThatWasFreeByChanceMakesTheNextOneLater) {
  Worker worker;
  worker.Run(125, {2, 1}, 2);
  std::vector<Duration> apart;
  Time last = worker.now;
  for (int trial = 0; trial < 6; ++trial) {
    while (worker.threads.Choose(2, worker.now).come_and_go) worker.Run(1, {2, 1}, 2);
    apart.push_back(worker.now - last);
    last = worker.now;
    worker.Run(1, {}, 2);                           // nobody was there in this one
    worker.Run(StepThreads::kSure + 1, {2, 1}, 2);  // and then they are
  }
  EXPECT_TRUE(std::ranges::is_sorted(apart));
  EXPECT_GE(apart.back(), StepThreads::kMostTry);
}

TEST(StepThreadsTest, AnotherNumberThatIsPermittedIsTriedAtOnce) {
  Worker worker;
  worker.Run(50, {4, 3}, 4);
  EXPECT_TRUE(worker.threads.Choose(4, worker.now).come_and_go);
  EXPECT_EQ(worker.Run(1, {4, 2}, 2), 0);
  EXPECT_EQ(worker.Run(100, {4, 2}, 2), 0);
  // Where it is no better the threads come and go from the next step on.
  worker.Run(50, {4, 3}, 4);
  EXPECT_EQ(worker.Run(1, {4, 3}, 3), 0);
  EXPECT_EQ(worker.Run(50, {4, 3}, 3), 50);
}

RC_GTEST_PROP(StepThreadsProperty, StaysWithWhatIsPermitted, ()) {
  StepThreads threads;
  Time now{};
  for (int i = 0; i < 200; ++i) {
    const int permitted = *rc::gen::inRange(1, 9);
    const auto choice = threads.Choose(permitted, now);
    RC_ASSERT(choice.threads == permitted);
    RC_ASSERT(permitted > 1 || !choice.come_and_go);
    const Duration took(*rc::gen::inRange(0, 50'000'000));
    threads.Observe(Duration(*rc::gen::inRange(0, 100'000'000)), took, now += took);
  }
}

}  // namespace
}  // namespace evenkeel::policy
