#include "batching/policy/prediction_error.h"

#include <gtest/gtest.h>

#include <random>

namespace evenkeel::policy {
namespace {

using std::chrono::milliseconds;
constexpr Duration kObjective = milliseconds(20);

// The share of requests that took no longer than it said, of 20,000 after as many; `refused`: as many again were refused for it.
double Within(uint64_t seed, bool refused) {
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> late(1 / 1.5e6);  // ns: 1.5 ms in the mean
  PredictionError error;
  int within = 0;
  constexpr int kSeen = 20'000;
  for (int i = 0; i < 2 * kSeen; ++i) {
    const Duration took = milliseconds(5) + Duration(static_cast<int64_t>(late(random)));
    if (i >= kSeen && took <= milliseconds(5) + error.lateness(kObjective)) ++within;
    error.OnEnd(milliseconds(5), took, kObjective);
    if (refused) error.OnRefusal(kObjective);
  }
  return static_cast<double>(within) / kSeen;
}

TEST(PredictionErrorTest, NineteenOfTwentyTakeLessThanItSays) {
  EXPECT_NEAR(Within(1, /*refused=*/false), 0.95, 0.01);
}

TEST(PredictionErrorTest, WhoIsAnsweredInTimeIsNotHeldUp) {
  PredictionError error;
  for (int i = 0; i < 1000; ++i) error.OnEnd(milliseconds(5), milliseconds(4), kObjective);
  EXPECT_EQ(error.lateness(kObjective), Duration::zero());
}

TEST(PredictionErrorTest, IsAtMostHalfOfTheObjectiveAndOfTheLimitAndFallsAgain) {
  PredictionError error;
  for (int i = 0; i < 1000; ++i) error.OnEnd(milliseconds(1), milliseconds(500), kObjective);
  EXPECT_EQ(error.lateness(kObjective), kObjective / 2);
  EXPECT_EQ(error.lateness(milliseconds(6)), milliseconds(3)) << "of a request with less time";
  for (int i = 0; i < 2000; ++i) error.OnEnd(milliseconds(1), milliseconds(1), kObjective);
  EXPECT_LT(error.lateness(kObjective), kObjective / 4);
}

// Of 1,000 requests a second all are refused but a few, which find an empty house.
TEST(PredictionErrorTest, WhoRefusesNearlyAllIsSoonCuredOfIt) {
  PredictionError error;
  for (int i = 0; i < 1000; ++i) error.OnEnd(milliseconds(1), milliseconds(500), kObjective);
  ASSERT_EQ(error.lateness(kObjective), kObjective / 2);
  for (int i = 0; i < 10'000; ++i) error.OnRefusal(kObjective);
  EXPECT_LT(error.lateness(kObjective), kObjective / 4);
  for (int i = 0; i < 100'000; ++i) error.OnRefusal(kObjective);
  EXPECT_EQ(error.lateness(kObjective), Duration::zero());
}

// Where one of two is refused for it, not many more of those accepted are later than it says.
TEST(PredictionErrorTest, RefusalsHardlyMoveWhatIsLearntFromEnds) {
  EXPECT_GT(Within(2, /*refused=*/true), 0.92);
}

}  // namespace
}  // namespace evenkeel::policy
