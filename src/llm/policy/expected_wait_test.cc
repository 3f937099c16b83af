#include "llm/policy/expected_wait.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <vector>

namespace evenkeel::policy {
namespace {

// Step by step.
int Simulated(std::vector<int> running, std::deque<int> waiting, size_t slots) {
  for (int step = 0;; ++step) {
    std::erase(running, 0);
    while (running.size() < slots && !waiting.empty()) {
      if (waiting.front() > 0) running.push_back(waiting.front());
      waiting.pop_front();
    }
    if (running.size() < slots) return step;
    for (int& left : running) --left;
  }
}

TEST(ExpectedWaitTest, IsWhatStepsOneByOneTake) {
  EXPECT_TRUE(rc::check([] {
    const auto slots = *rc::gen::inRange<size_t>(1, 6);
    std::vector<int> running;
    std::deque<int> waiting;
    const auto runs = *rc::gen::inRange<size_t>(0, slots + 3);  // a limit may have been lowered
    for (size_t i = 0; i < runs; ++i) running.push_back(*rc::gen::inRange(1, 50));
    const int waits = *rc::gen::inRange(0, 10);
    for (int i = 0; i < waits; ++i) waiting.push_back(*rc::gen::inRange(1, 50));
    const std::vector<double> r(running.begin(), running.end()), w(waiting.begin(), waiting.end());
    RC_ASSERT(StepsUntilFree(r, w, static_cast<int>(slots)) == Simulated(running, waiting, slots));
  }));
}

}  // namespace
}  // namespace evenkeel::policy
