#include "loadgen/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "loadgen/arrivals.h"

namespace evenkeel::loadgen {
namespace {

// The reference: sort everything, take the ceil(q n)-th.
int64_t SortedQuantile(std::vector<int64_t> values, double q) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
  return values[std::max<size_t>(rank, 1) - 1];
}

TEST(HistogramTest, QuantilesStayWithinTheErrorBoundOfASortedReference) {
  for (const int bits : {7, 11}) {
    Rng rng(static_cast<uint64_t>(bits));
    Histogram h(bits);
    std::vector<int64_t> values;
    for (int i = 0; i < 50'000; ++i) {
      // Over twelve powers of ten, so that every bucket size is met.
      const auto v = static_cast<int64_t>(std::exp(rng.Uniform() * 27.6));
      values.push_back(v);
      h.Record(v);
    }
    const double bound = 1 + std::ldexp(1, 1 - bits);
    for (const double q : {0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const int64_t exact = SortedQuantile(values, q);
      EXPECT_GE(h.Quantile(q), exact) << "q " << q << " bits " << bits;
      EXPECT_LE(static_cast<double>(h.Quantile(q)), static_cast<double>(exact) * bound)
          << "q " << q << " bits " << bits;
    }
  }
}

TEST(HistogramTest, SmallValuesAndExtremesAreExact) {
  Histogram h;
  for (int64_t v = 0; v < 2048; ++v) h.Record(v);
  EXPECT_EQ(h.Quantile(0.5), 1023);
  h.Record(123'456'789'012);
  EXPECT_EQ(h.max(), 123'456'789'012);
  EXPECT_EQ(h.Quantile(1), 123'456'789'012);
  EXPECT_EQ(h.min(), 0);
}

TEST(HistogramTest, NothingIsDropped) {
  Histogram h;
  h.Record(-5);
  h.Record(INT64_MAX);
  EXPECT_EQ(h.count(), 2u);
  EXPECT_EQ(h.min(), 0);
  EXPECT_GE(h.max(), int64_t{1} << 62);
}

TEST(HistogramTest, MergedPartsEqualTheWhole) {
  Rng rng(3);
  Histogram whole;
  Histogram parts[3];
  for (int i = 0; i < 10'000; ++i) {
    const auto v = static_cast<int64_t>(rng.Below(1'000'000'000));
    whole.Record(v);
    parts[i % 3].Record(v);
  }
  Histogram merged;
  for (const Histogram& part : parts) merged.Merge(part);
  EXPECT_EQ(merged.count(), whole.count());
  EXPECT_DOUBLE_EQ(merged.Mean(), whole.Mean());
  for (const double q : {0.0, 0.25, 0.5, 0.99, 1.0})
    EXPECT_EQ(merged.Quantile(q), whole.Quantile(q));
}

TEST(HistogramTest, EmptyGivesZero) {
  const Histogram h;
  EXPECT_EQ(h.Quantile(0.99), 0);
  EXPECT_EQ(h.min(), 0);
  EXPECT_EQ(h.max(), 0);
}

}  // namespace
}  // namespace evenkeel::loadgen
