#include "loadgen/arrivals.h"

#include <gtest/gtest.h>

#include <cmath>

#include "loadgen/stage_spec.h"
#include "loadgen/trace_file.h"

namespace evenkeel::loadgen {
namespace {

using std::chrono::milliseconds;

std::vector<double> UntilSecond(Arrivals* arrivals, double end_s) {
  std::vector<double> times;
  while (const auto at = arrivals->Next()) {
    if (Seconds(*at) >= end_s) break;
    times.push_back(Seconds(*at));
  }
  return times;
}

// Variance over mean of the counts in windows: 1 for a Poisson process, 0 for a clock.
double DispersionIndex(const std::vector<double>& times, double end_s, double window_s) {
  std::vector<double> counts(static_cast<size_t>(end_s / window_s));
  for (const double t : times)
    ++counts[std::min(static_cast<size_t>(t / window_s), counts.size() - 1)];
  double mean = 0;
  double square = 0;
  for (const double c : counts) {
    mean += c;
    square += c * c;
  }
  mean /= static_cast<double>(counts.size());
  return (square / static_cast<double>(counts.size()) - mean * mean) / mean;
}

TEST(ArrivalsTest, PoissonHasItsRateAndTheDispersionOfOne) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    const auto times = UntilSecond(PoissonArrivals(1000, seed, {}).get(), 100);
    EXPECT_NEAR(static_cast<double>(times.size()), 100'000, 4 * std::sqrt(100'000));
    // 1,000 windows: the index has a standard error of sqrt(2/1000) = 0.045.
    EXPECT_NEAR(DispersionIndex(times, 100, 0.1), 1, 0.2) << "seed " << seed;
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
  }
}

TEST(ArrivalsTest, PartsOfAPoissonProcessAddUpToThePoissonProcess) {
  std::vector<double> all;
  for (int i = 0; i < 4; ++i) {
    const auto part = UntilSecond(PoissonArrivals(1000, 9, {i, 4}).get(), 50);
    EXPECT_NEAR(static_cast<double>(part.size()), 12'500, 4 * std::sqrt(12'500));
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  EXPECT_NEAR(DispersionIndex(all, 50, 0.1), 1, 0.3);
}

TEST(ArrivalsTest, ConstantIsEvenAcrossParts) {
  std::vector<double> all;
  for (int i = 0; i < 3; ++i) {
    const auto part = UntilSecond(ConstantArrivals(300, {i, 3}).get(), 1);
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), 300u);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_NEAR(all[i], static_cast<double>(i) / 300, 2e-9);
}

TEST(ArrivalsTest, TracePartsTakeEachArrivalOnceAndEnd) {
  const auto times =
      std::make_shared<const std::vector<double>>(std::vector<double>{0, 0.1, 0.1, 0.4, 2});
  std::vector<double> all;
  for (int i = 0; i < 2; ++i) {
    const auto part = UntilSecond(TraceArrivals(times, {i, 2}).get(), 1e9);
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, *times);
}

TEST(ArrivalsTest, ScalingRebasesAndKeepsTheOrderOfGaps) {
  const std::vector<double> scaled = ScaleTrace({10, 11, 15}, 2);
  EXPECT_EQ(scaled, (std::vector<double>{0, 0.5, 2.5}));
  EXPECT_DOUBLE_EQ(MeanRate(scaled), 2 / 2.5);
  EXPECT_EQ(MeanRate({1, 1}), 0);
}

TEST(TraceFileTest, ReadsTheColumnByName) {
  const auto times =
      ParseTrace("client,t_s,note\r\na,1,\"x,y\"\nb,1.5,z\n\n\"c,d\",1.5,\n", "t.csv");
  ASSERT_TRUE(times.ok()) << times.status().ToString();
  EXPECT_EQ(*times, (std::vector<double>{1, 1.5, 1.5}));
}

TEST(TraceFileTest, ReadsBareNumbers) {
  const auto times = ParseTrace("0.25\n0.5\n", "t.csv");
  ASSERT_TRUE(times.ok());
  EXPECT_EQ(*times, (std::vector<double>{0.25, 0.5}));
}

TEST(TraceFileTest, ErrorsNameFileAndLine) {
  EXPECT_NE(ParseTrace("t_s\n1\nx\n", "t.csv").status().message().find("t.csv:3"),
            std::string::npos);
  EXPECT_NE(ParseTrace("a,b\n1,2\n", "t.csv").status().message().find("no column 't_s'"),
            std::string::npos);
  EXPECT_EQ(ParseTrace("t_s\n", "t.csv").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(ReadTraceFile("/nonexistent/t.csv.gz").status().code(), Code::kNotFound);
}

TEST(TraceFileTest, RefusesTimesThatAreNoneOrOutOfOrder) {
  const std::pair<const char*, const char*> cases[] = {
      {"t_s\n1\n0.5\n", "t.csv:3: 0.5 comes after 1: times must ascend"},
      {"0.5\n\n# a note\n0.25\n", "t.csv:4: 0.25 comes after 0.5: times must ascend"},
      {"t_s\n-0.5\n1\n", "t.csv:2: expected 0 or more seconds, got -0.5"},
      {"-1\n1\n", "t.csv:1: expected 0 or more seconds, got -1"},
      {"t_s\n1\nnan\n", "t.csv:3: expected a finite number, got 'nan'"},
      {"t_s\n1\ninf\n", "t.csv:3: expected a finite number, got 'inf'"},
      {"1\n1e999\n", "t.csv:2: expected a number of seconds in column 1, got '1e999'"}};
  for (const auto& [text, said] : cases) {
    const auto times = ParseTrace(text, "t.csv");
    EXPECT_EQ(times.status().code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(times.status().message(), said) << text;
  }
}

TEST(StageSpecTest, ReadsClosedAndOpenLoops) {
  const auto closed = ParseStage("concurrency=8,requests=100,name=a", milliseconds(7));
  ASSERT_TRUE(closed.ok()) << closed.status().ToString();
  EXPECT_EQ(closed->concurrency, 8);
  EXPECT_EQ(closed->requests, 100u);
  EXPECT_EQ(closed->duration, Duration::max());
  const auto open = ParseStage("rate=10.5,arrivals=constant,scale=2", milliseconds(7));
  ASSERT_TRUE(open.ok()) << open.status().ToString();
  EXPECT_DOUBLE_EQ(open->rate_rps, 21);
  EXPECT_EQ(open->arrivals, ArrivalKind::kConstant);
  EXPECT_EQ(open->duration, milliseconds(7));
}

TEST(StageSpecTest, RefusesWhatMakesNoSense) {
  for (const char* text :
       {"", "rate=5,concurrency=2", "rate=0", "rate=-1", "rate=inf", "rate=x", "concurrency=0",
        "speed=3", "rate=1,rate=2", "rate", "duration=5s", "rate=1,duration=5",
        "rate=1,duration=0s", "rate=1,requests=0", "concurrency=2,arrivals=poisson",
        "rate=1,arrivals=bursty", "arrivals=trace:/nonexistent", "concurrency=1000000"}) {
    EXPECT_FALSE(ParseStage(text, milliseconds(7)).ok()) << text;
  }
}

}  // namespace
}  // namespace evenkeel::loadgen
