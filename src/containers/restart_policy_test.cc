#include "containers/restart_policy.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

TEST(RestartPolicyTest, PausesGrowWhileWorkersDoNoGood) {
  RestartPolicy policy;
  EXPECT_EQ(policy.OnEnd(1s, 0), 0ms);
  EXPECT_EQ(policy.OnEnd(1s, 0), 0ms);
  EXPECT_EQ(policy.OnEnd(1s, 0), 100ms);
  EXPECT_EQ(policy.OnEnd(1s, 0), 200ms);
  Duration last{};
  for (int i = 0; i < 40; ++i) last = policy.OnEnd(1s, 0);
  EXPECT_EQ(last, RestartPolicy::kLongestPause);
}

TEST(RestartPolicyTest, AUsefulLifeForgives) {
  RestartPolicy policy;
  for (int i = 0; i < 4; ++i) static_cast<void>(policy.OnEnd(1s, 0));
  EXPECT_EQ(policy.OnEnd(1s, RestartPolicy::kUsefulAnswers), 0ms);
  for (int i = 0; i < 4; ++i) static_cast<void>(policy.OnEnd(1s, 0));
  EXPECT_EQ(policy.OnEnd(RestartPolicy::kUsefulLife, 0), 0ms);
}

TEST(RestartPolicyTest, AFewAnswersALifeAddUp) {
  RestartPolicy policy;
  for (int i = 0; i < 100; ++i) EXPECT_LE(policy.OnEnd(1ms, 4), RestartPolicy::kFirstPause);
}

}  // namespace
}  // namespace evenkeel
