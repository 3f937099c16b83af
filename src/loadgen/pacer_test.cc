#include "loadgen/pacer.h"

#include <gtest/gtest.h>

namespace evenkeel::loadgen {
namespace {

using std::chrono::milliseconds;

Stage Closed(int concurrency, Duration duration) {
  Stage s;
  s.concurrency = concurrency;
  s.duration = duration;
  return s;
}

Stage Open(double rate_rps, Duration duration) {
  Stage s;
  s.rate_rps = rate_rps;
  s.arrivals = ArrivalKind::kConstant;
  s.duration = duration;
  return s;
}

TEST(PacerTest, ClosedLoopKeepsTheConcurrency) {
  Pacer pacer({Closed(3, milliseconds(10))}, {}, 100, 1);
  for (int in_flight = 0; in_flight < 3; ++in_flight)
    EXPECT_TRUE(pacer.Take(milliseconds(1), in_flight));
  EXPECT_FALSE(pacer.Take(milliseconds(1), 3));
  EXPECT_EQ(pacer.NextWake(), milliseconds(10));
  EXPECT_TRUE(pacer.Take(milliseconds(2), 2));
  EXPECT_FALSE(pacer.Take(milliseconds(10), 0));
  EXPECT_TRUE(pacer.Finished());
}

TEST(PacerTest, ConcurrencyIsSplitOverThreadsWithoutLoss) {
  int sum = 0;
  for (int i = 0; i < 3; ++i) {
    Pacer pacer({Closed(8, milliseconds(10))}, {i, 3}, 100, 1);
    int in_flight = 0;
    while (pacer.Take(milliseconds(1), in_flight)) ++in_flight;
    sum += in_flight;
  }
  EXPECT_EQ(sum, 8);
}

TEST(PacerTest, OpenLoopSendsAtTheIntendedTimesHoweverLateItIsAsked) {
  Pacer pacer({Open(1000, milliseconds(5))}, {}, 100, 1);
  EXPECT_EQ(pacer.Take(milliseconds(0), 0)->intended, milliseconds(0));
  EXPECT_FALSE(pacer.Take(milliseconds(0), 1));
  EXPECT_EQ(pacer.NextWake(), milliseconds(1));
  // Asked only long after the end: the arrivals of the stage are still sent, with their times.
  for (int i = 1; i < 5; ++i) EXPECT_EQ(pacer.Take(milliseconds(60), 1)->intended, milliseconds(i));
  EXPECT_FALSE(pacer.Take(milliseconds(60), 1));
  EXPECT_TRUE(pacer.Finished());
  EXPECT_EQ(pacer.not_sent(0), 0u);
}

TEST(PacerTest, TheCapDelaysArrivalsAndReportsThem) {
  Pacer pacer({Open(1000, milliseconds(10))}, {}, 2, 1);
  EXPECT_TRUE(pacer.Take(milliseconds(3), 0));
  EXPECT_TRUE(pacer.Take(milliseconds(3), 1));
  EXPECT_FALSE(pacer.Take(milliseconds(3), 2));
  EXPECT_FALSE(pacer.Take(milliseconds(3), 2));
  EXPECT_EQ(pacer.held_back(0), 1u);
  const auto late = pacer.Take(milliseconds(8), 1);
  ASSERT_TRUE(late);
  EXPECT_EQ(late->intended, milliseconds(2));
  EXPECT_FALSE(pacer.Take(milliseconds(12), 2));
  EXPECT_TRUE(pacer.Finished());
  EXPECT_EQ(pacer.not_sent(0), 7u);  // of ten, three were sent
}

TEST(PacerTest, AStageOfRequestsLastsUntilTheLastAnswer) {
  Stage stage = Closed(4, Duration::max());
  stage.requests = 2;
  Pacer pacer({stage, Closed(1, milliseconds(10))}, {}, 100, 1);
  EXPECT_TRUE(pacer.Take(milliseconds(1), 0));
  EXPECT_TRUE(pacer.Take(milliseconds(1), 1));
  EXPECT_FALSE(pacer.Take(milliseconds(2), 2));
  EXPECT_EQ(pacer.StageAt(milliseconds(2)), 0);
  EXPECT_FALSE(pacer.Take(milliseconds(4), 1));
  const auto next = pacer.Take(milliseconds(5), 0);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->stage, 1);
  EXPECT_EQ(pacer.ended(0), milliseconds(5));
}

TEST(PacerTest, TimedStagesFollowEachOtherAtTheirPlannedTimes) {
  Pacer pacer({Open(1000, milliseconds(3)), Open(500, milliseconds(4))}, {}, 100, 1);
  std::vector<std::pair<int, Duration>> sent;
  for (int ms = 0; ms < 20; ++ms) {
    while (const auto due = pacer.Take(milliseconds(ms), 0))
      sent.emplace_back(due->stage, due->intended);
  }
  const std::vector<std::pair<int, Duration>> expected = {{0, milliseconds(0)},
                                                          {0, milliseconds(1)},
                                                          {0, milliseconds(2)},
                                                          {1, milliseconds(3)},
                                                          {1, milliseconds(5)}};
  EXPECT_EQ(sent, expected);
  EXPECT_EQ(pacer.started(1), milliseconds(3));
  EXPECT_EQ(pacer.ended(1), milliseconds(7));
  EXPECT_EQ(pacer.StageAt(milliseconds(9)), -1);
}

TEST(PacerTest, ATraceEndsWithItsLastArrival) {
  Stage stage = Open(10, Duration::max());
  stage.arrivals = ArrivalKind::kTrace;
  stage.trace_s = std::make_shared<const std::vector<double>>(std::vector<double>{0, 0.002});
  Pacer pacer({stage}, {}, 100, 1);
  EXPECT_TRUE(pacer.Take(milliseconds(0), 0));
  EXPECT_TRUE(pacer.Take(milliseconds(2), 1));
  EXPECT_FALSE(pacer.Take(milliseconds(3), 1));
  EXPECT_FALSE(pacer.Finished());
  EXPECT_FALSE(pacer.Take(milliseconds(4), 0));
  EXPECT_TRUE(pacer.Finished());
}

TEST(PacerTest, StopEndsEverything) {
  Pacer pacer({Closed(1, milliseconds(10)), Closed(1, milliseconds(10))}, {}, 1, 1);
  pacer.Stop(milliseconds(2));
  EXPECT_TRUE(pacer.Finished());
  EXPECT_FALSE(pacer.Take(milliseconds(3), 0));
  EXPECT_EQ(pacer.ended(0), milliseconds(2));
}

}  // namespace
}  // namespace evenkeel::loadgen
