#include "sim/arrivals.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/format.h"
#include "sim/arrival_spec.h"

namespace evenkeel::sim {
namespace {

using namespace std::chrono_literals;

const std::map<std::string, std::string> kFiles = {
    {"t.csv", "n,t_s\n1,10\n2,10.5\n3,10.5\n4,12\n"},
    {"bare.txt", "# seconds\n0\n1\n\n3\n"},
    {"counts.csv", "minute,requests\n0,10\n1,0\n2,30\n"},
    {"clients.csv", "t_s,client,rate_rps,iat_cv\n600,1,2,1\n600,2,4,3\n1200,1,6,1\n"},
    {"down.csv", "t_s\n1\n3\n2\n"},
    {"negative.csv", "t_s\n-1\n3\n"},
    {"garbage.csv", "t_s\n1\nx\n"},
    {"nan.csv", "t_s\nnan\n"},
    {"empty.csv", "t_s\n"},
    {"other.csv", "time,x\n1,2\n"},
    {"zero.csv", "minute,requests\n0,0\n"},
    {"short.csv", "t_s,client,rate_rps,iat_cv\n600,1\n"},
};

Result<std::string> Read(const std::string& path) {
  const auto file = kFiles.find(path);
  if (file == kFiles.end()) return NotFound("cannot open '{}'", path);
  return file->second;
}

std::shared_ptr<const ArrivalProcess> Parse(std::string_view spec) {
  auto process = ParseArrivals(spec, Read);
  EXPECT_TRUE(process.ok()) << process.status().ToString();
  return *process;
}

std::vector<double> Times(const ArrivalProcess& process, size_t most, double factor = 1,
                          uint64_t seed = 1) {
  const auto arrivals = process.Play(factor, seed);
  std::vector<double> times;
  while (times.size() < most) {
    const auto time = arrivals->Next();
    if (!time) break;
    times.push_back(Seconds(time->time_since_epoch()));
  }
  return times;
}

struct Moments {
  double mean, cv;
};
Moments GapsOf(const std::vector<double>& times) {
  double sum = 0, squares = 0;
  for (size_t i = 1; i < times.size(); ++i) {
    const double gap = times[i] - times[i - 1];
    sum += gap;
    squares += gap * gap;
  }
  const double n = static_cast<double>(times.size() - 1), mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean) / mean};
}

TEST(ArrivalsTest, RenewalProcessesHaveTheirRateAndVariation) {
  const std::pair<std::string, double> cases[] = {
      {"poisson:500", 1}, {"constant:500", 0}, {"gamma:500,cv=0.5", 0.5}, {"gamma:500,cv=4", 4}};
  for (const auto& [spec, cv] : cases) {
    const Moments gaps = GapsOf(Times(*Parse(spec), 300'000));
    EXPECT_NEAR(gaps.mean, 1.0 / 500, 0.05 / 500) << spec;
    EXPECT_NEAR(gaps.cv, cv, 0.05 * cv + 0.001) << spec;
  }
}

TEST(ArrivalsTest, StepsRepeatAndKeepTheirRates) {
  const auto process = Parse("steps:100@2/0@1/1000@1");
  EXPECT_DOUBLE_EQ(process->mean_rate_rps(), 300);
  std::map<int, int> seconds;
  for (const double t : Times(*process, 60'000)) ++seconds[static_cast<int>(t) % 4];
  EXPECT_NEAR(seconds[0], 5000, 300);
  EXPECT_NEAR(seconds[1], 5000, 300);
  EXPECT_EQ(seconds[2], 0);
  EXPECT_NEAR(seconds[3], 50'000, 500);
}

TEST(ArrivalsTest, ATraceStartsAtItsFirstArrival) {
  EXPECT_EQ(Times(*Parse("trace:t.csv"), 99), (std::vector<double>{0, 0.5, 0.5, 2}));
  EXPECT_EQ(Times(*Parse("trace:t.csv,speed=2"), 99), (std::vector<double>{0, 0.25, 0.25, 1}));
  EXPECT_EQ(Times(*Parse("trace:bare.txt,rate=2"), 99), (std::vector<double>{0, 0.5, 1.5}));
}

TEST(ArrivalsTest, CountsFillTheirBins) {
  const auto process = Parse("counts:counts.csv,bin=1s,rate=4000");
  EXPECT_NEAR(process->mean_rate_rps(), 4000, 1e-9);
  EXPECT_EQ(process->length(), 3s);
  std::map<int, int> seconds;
  for (const double t : Times(*process, 1 << 20)) ++seconds[static_cast<int>(t)];
  EXPECT_NEAR(seconds[0], 3000, 250);
  EXPECT_EQ(seconds[1], 0);
  EXPECT_NEAR(seconds[2], 9000, 400);
}

TEST(ArrivalsTest, ClientsOfAWindowAddUp) {
  const auto process = Parse("clients:clients.csv,speed=100,rate=600");
  EXPECT_EQ(process->length(), 12s);
  std::map<int, int> windows;
  for (const double t : Times(*process, 1 << 20)) ++windows[static_cast<int>(t / 6)];
  EXPECT_NEAR(windows[0], 3600, 400);
  EXPECT_NEAR(windows[1], 3600, 400);
}

TEST(ArrivalsTest, TheSeedDecidesAndTheFactorScales) {
  for (const char* spec : {"poisson:100", "gamma:100,cv=3", "steps:100@1/200@1",
                           "counts:counts.csv,bin=10s", "clients:clients.csv"}) {
    const auto process = Parse(spec);
    EXPECT_EQ(Times(*process, 500, 1, 7), Times(*process, 500, 1, 7)) << spec;
    EXPECT_NE(Times(*process, 5, 1, 7), Times(*process, 5, 1, 8)) << spec;
    const auto slow = Times(*process, 1 << 16), fast = Times(*process, 1 << 16, 2);
    const double ratio = static_cast<double>(fast.size()) / fast.back() /
                         (static_cast<double>(slow.size()) / slow.back());
    EXPECT_NEAR(ratio, 2, 0.4) << spec;
  }
}

TEST(ArrivalsTest, TimesNeverGoBack) {
  for (const char* spec : {"gamma:1000,cv=9", "clients:clients.csv,rate=900", "steps:1@1/900@1"}) {
    const auto times = Times(*Parse(spec), 20'000);
    EXPECT_TRUE(std::ranges::is_sorted(times)) << spec;
  }
}

TEST(ArrivalsTest, BadTracesAndSpecsAreClearErrors) {
  const std::pair<std::string, std::string> cases[] = {
      {"trace:down.csv", "down.csv:4: 2 comes after 3"},
      {"trace:negative.csv", "negative.csv:2: expected 0 or more"},
      {"trace:garbage.csv", "garbage.csv:3: expected a number, got 'x'"},
      {"trace:nan.csv", "nan.csv:2"},
      {"trace:empty.csv", "no arrivals"},
      {"trace:other.csv", "no 't_s'"},
      {"trace:missing.csv", "missing.csv"},
      {"trace:t.csv,rate=1,speed=2", "not both"},
      {"counts:zero.csv,bin=1s", "no arrivals"},
      {"counts:counts.csv", "bin="},
      {"counts:counts.csv,bin=0s", "'bin'"},
      {"clients:short.csv", "short.csv:2"},
      {"clients:t.csv", "rate_rps"},
      {"poisson:0", "rate"},
      {"poisson:many", "rate"},
      {"poisson:1e99", "rate"},
      {"poisson:5,cv=2", "'cv'"},
      {"gamma:5,cv=-1", "'cv'"},
      {"gamma:5,cv=1,cv=2", "twice"},
      {"steps:5", "seconds"},
      {"steps:0@5", "no step"},
      {"sometimes:5", "poisson"},
      {"poisson", "KIND:"},
      {"poisson:", "expected something"},
      // What is cut within a character is no UTF-8, and no text of an error.
      {std::string(63, 'a') + "\xc3\xa9", "a\\xc3...'"},
      {"poisson:" + std::string(63, '9') + "\xc3\xa9", "9\\xc3...'"},
  };
  for (const auto& [spec, expected] : cases) {
    const auto process = ParseArrivals(spec, Read);
    ASSERT_FALSE(process.ok()) << spec;
    EXPECT_NE(process.status().message().find(expected), std::string::npos)
        << spec << ": " << process.status().message();
  }
}

RC_GTEST_PROP(ArrivalSpecProperty, AnyTextIsParsedOrRefused, (const std::string& text)) {
  for (const char* kind : {"", "poisson:", "steps:", "gamma:1,", "trace:"})
    (void)ParseArrivalSpec(kind + text);
}

}  // namespace
}  // namespace evenkeel::sim
