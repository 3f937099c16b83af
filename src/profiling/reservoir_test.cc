#include "profiling/reservoir.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace evenkeel {
namespace {

// The kept rows' indexes after `rows` rows, as the sampler drives a reservoir.
std::vector<int> Kept(Reservoir& reservoir, int rows) {
  std::vector<int> kept;
  for (int64_t at = reservoir.TakeSkip(); at < rows; at += 1 + reservoir.TakeSkip()) {
    const int64_t slot = reservoir.Admit();
    if (slot == Reservoir::kNotKept) continue;
    if (slot == static_cast<int64_t>(kept.size())) kept.push_back(0);
    kept[static_cast<size_t>(slot)] = static_cast<int>(at);
  }
  return kept;
}

// Vitter's algorithm R, word for word.
std::vector<int> KeptByR(size_t capacity, int rows, std::mt19937_64& random) {
  std::vector<int> kept;
  for (int i = 0; i < rows; ++i) {
    if (kept.size() < capacity) {
      kept.push_back(i);
      continue;
    }
    const auto slot = std::uniform_int_distribution<size_t>(0, static_cast<size_t>(i))(random);
    if (slot < capacity) kept[slot] = i;
  }
  return kept;
}

double ChiSquare(const std::vector<int>& counts, double expected) {
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// Upper 0.1 % point of chi-square (Wilson and Hilferty).
double Limit(double degrees) {
  const double a = 2 / (9 * degrees);
  return degrees * std::pow(1 - a + 3.09 * std::sqrt(a), 3);
}

TEST(ReservoirTest, EveryRowIsKeptEquallyOftenAsByAlgorithmR) {
  constexpr int kRows = 60;
  constexpr int kCapacity = 7;
  constexpr int kRuns = 30'000;
  std::vector<int> ours(kRows);
  std::vector<int> reference(kRows);
  std::mt19937_64 random(5);
  for (int run = 0; run < kRuns; ++run) {
    Reservoir reservoir(kCapacity, random());
    const auto kept = Kept(reservoir, kRows);
    ASSERT_EQ(kept.size(), kCapacity);
    for (const int i : kept) ++ours[static_cast<size_t>(i)];
    for (const int i : KeptByR(kCapacity, kRows, random)) ++reference[static_cast<size_t>(i)];
  }
  const double expected = double{kRuns} * kCapacity / kRows;
  EXPECT_LT(ChiSquare(ours, expected), Limit(kRows - 1));
  EXPECT_LT(ChiSquare(reference, expected), Limit(kRows - 1));
  // The two samples against each other.
  double between = 0;
  for (size_t i = 0; i < kRows; ++i) {
    between += std::pow(ours[i] - reference[i], 2) / (ours[i] + reference[i]);
  }
  EXPECT_LT(between, Limit(kRows - 1));
}

TEST(ReservoirTest, EveryPairIsKeptEquallyOften) {
  constexpr int kRows = 12;
  constexpr int kRuns = 40'000;
  std::vector<int> pairs(kRows * kRows);
  for (int run = 0; run < kRuns; ++run) {
    Reservoir reservoir(2, static_cast<uint64_t>(run) * 7919 + 1);
    auto kept = Kept(reservoir, kRows);
    if (kept[0] > kept[1]) std::swap(kept[0], kept[1]);
    ++pairs[static_cast<size_t>(kept[0] * kRows + kept[1])];
  }
  std::erase(pairs, 0);
  ASSERT_EQ(pairs.size(), kRows * (kRows - 1) / 2);
  EXPECT_LT(ChiSquare(pairs, double{kRuns} / static_cast<double>(pairs.size())),
            Limit(static_cast<double>(pairs.size() - 1)));
}

// Not exact here: rows that fill free places enter by a threshold that is itself random.
TEST(ReservoirTest, RowsStayAboutEquallyLikelyThroughEvictionsRestartAndForgetting) {
  constexpr int kRows = 3200;
  constexpr int kOld = 400;  // rows 0 to 399 grow too old
  constexpr int kRuns = 4'000;
  constexpr int kCapacity = 32;
  double early = 0;  // kept of rows 400 to 1599
  double late = 0;   // kept of rows 1600 to 3199
  for (int run = 0; run < kRuns; ++run) {
    const auto seed = static_cast<uint64_t>(run) * 104'729 + 3;
    Reservoir first(kCapacity, seed);
    auto kept = Kept(first, kRows / 2);
    for (int i = 0; i < 10; ++i) {  // as a bound on bytes does
      kept[static_cast<size_t>(first.Evict())] = kept.back();
      kept.pop_back();
    }
    (void)first.TakeSkip();
    Reservoir second(kCapacity, seed + 1);
    second.Restore(first.size(), first.threshold());
    for (size_t i = kept.size(); i-- > 0;) {
      if (kept[i] >= kOld) continue;
      kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(i));
      second.Forget();
    }
    for (int64_t at = kRows / 2 + second.TakeSkip(); at < kRows; at += 1 + second.TakeSkip()) {
      const int64_t slot = second.Admit();
      if (slot == Reservoir::kNotKept) continue;
      if (slot == static_cast<int64_t>(kept.size())) kept.push_back(0);
      kept[static_cast<size_t>(slot)] = static_cast<int>(at);
    }
    ASSERT_EQ(static_cast<int64_t>(kept.size()), second.size());
    for (const int i : kept) (i < kRows / 2 ? early : late) += 1;
  }
  const double ratio = (early / (kRows / 2 - kOld)) / (late / (kRows / 2));
  EXPECT_GT(ratio, 0.95);
  EXPECT_LT(ratio, 1.10);
}

TEST(ReservoirTest, SkipsGrowWithTheRowsSeen) {
  Reservoir reservoir(10, 1);
  int64_t candidates = 0;
  for (int64_t at = reservoir.TakeSkip(); at < 10'000'000; at += 1 + reservoir.TakeSkip()) {
    reservoir.Admit();
    ++candidates;
  }
  // Expected about 10 (1 + ln(1e6)) = 148.
  EXPECT_GT(candidates, 80);
  EXPECT_LT(candidates, 260);
}

TEST(ReservoirTest, ThresholdNeverReachesZero) {
  Reservoir reservoir(1, 1);
  reservoir.Restore(1, 1e-300);
  for (int i = 0; i < 10'000; ++i) reservoir.Admit();
  EXPECT_GT(reservoir.threshold(), 0);
  EXPECT_EQ(reservoir.TakeSkip(), Reservoir::kLongestSkip);
}

}  // namespace
}  // namespace evenkeel
