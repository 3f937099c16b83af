#include "batching/policy/target.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

// T = a + c n, known at every size.
BatchCurve Affine(double a_us, double c_us, int most = 64) {
  BatchCurve curve;
  for (int n = 1; n <= most; ++n) {
    const auto t = Duration(std::lround((a_us + c_us * n) * 1e3));
    curve.Set(n, t, t);
  }
  return curve;
}

TEST(KneeTest, IsOneWhereBatchingDoesNotHelp) { EXPECT_EQ(Knee(Affine(3, 300), 64, 1s), 1); }

// r(n) of the header, read plainly; all sizes are equally well known.
double PerRow(const BatchCurve& curve, int n, double q, int max_rows) {
  double time = 0, rows = 0;
  for (int m = 1; m <= max_rows; ++m) {
    if (m * q < n || m > q * n) continue;
    time += Seconds(curve.Mean(m));
    rows += m;
  }
  return time / rows;
}

int PlainKnee(const BatchCurve& curve, int max_rows, double slack) {
  double best[2] = {1e9, 1e9};
  for (int n = 1; n <= max_rows; ++n) {
    best[0] = std::min(best[0], PerRow(curve, n, 2, max_rows));
    best[1] = std::min(best[1], PerRow(curve, n, 1.5, max_rows));
  }
  if (PerRow(curve, 1, 2, max_rows) <= slack * best[0]) return 1;
  for (int n = 1;; ++n)
    if (PerRow(curve, n, 1.5, max_rows) <= slack * best[1]) return n;
}

RC_GTEST_PROP(KneeProperty, IsWhatTheHeaderSays, ()) {
  const int max_rows = *rc::gen::inRange(1, 65);
  const int a = *rc::gen::inRange(0, 2000);
  BatchCurve curve;
  for (int n = 1; n <= 64; ++n) {
    const auto t = (a + *rc::gen::inRange(100, 120) * n) * 1us;
    curve.Set(n, t, t);
  }
  RC_ASSERT(Knee(curve, max_rows, 1h) == PlainKnee(curve, max_rows, kKneeSlack));
}

TEST(KneeTest, ScatterDoesNotMakeAFlatModelLookSteep) {
  // 7 % of scatter, two runs a size as after warming, and T(1) as well known as after some requests.
  std::mt19937_64 random(4);
  std::lognormal_distribution<double> scatter(0, 0.07);
  int batched = 0;
  for (int trial = 0; trial < 200; ++trial) {
    BatchCurve curve;
    for (int n = 1; n <= 64; ++n) {
      for (int run = 0; run < (n == 1 ? 50 : 2); ++run)
        curve.Record(n, Duration(std::lround(1e6 * n * scatter(random))));
    }
    batched += Knee(curve, 64, 1s) > 1 ? 1 : 0;
  }
  EXPECT_LE(batched, 20);  // nearly all are, without the sums over neighbours
}

TEST(KneeTest, IsLoweredUntilItFitsTheTimeAllowed) {
  EXPECT_EQ(Knee(Affine(140, 10), 64, 240us), 10);
  EXPECT_EQ(Knee(Affine(140, 10), 64, 1us), 1);
}

TEST(TargetTest, OfAnAffineTimeIsTheEconomicOrderQuantity) {
  const BatchCurve curve = Affine(400, 10);
  const TargetCurve target(curve, 64, 1, 2000, 50ms);
  for (const double p : {0.5, 2.0, 10.0, 30.0}) {
    const double quantity = std::sqrt(2 * p * 400e-6 * 2000 * 0.05);
    EXPECT_NEAR(target.TargetAt(p), std::min(64.0, quantity), 1) << p;
  }
}

struct Case {
  BatchCurve curve;
  int knee;
  int threads;
  double rate;
  Duration objective;
};

Case DrawCase() {
  Case c;
  const int sizes = *rc::gen::inRange(1, 40);
  double t = *rc::gen::inRange(1, 5000);
  for (int n = 1; n <= sizes; ++n) {
    c.curve.Set(n, Duration(std::lround(t * 1e3)), Duration(std::lround(t * 2e3)));
    t += *rc::gen::inRange(0, 1000);
  }
  c.knee = *rc::gen::inRange(1, sizes + 1);
  c.threads = *rc::gen::inRange(1, 4);
  c.rate = *rc::gen::inRange(1, 20'000);
  c.objective = *rc::gen::inRange(1, 500) * 1ms;
  return c;
}

double CostAt(const Case& c, double p, int n) {
  return p * c.threads * Seconds(c.curve.Mean(n)) / n +
         (n - 1) / (2 * c.rate * Seconds(c.objective));
}

RC_GTEST_PROP(TargetProperty, MinimisesTheFormulaOfTheHeader, ()) {
  const Case c = DrawCase();
  const double p = std::pow(10.0, *rc::gen::inRange(-40, 41) / 10.0);
  const TargetCurve target(c.curve, c.knee, c.threads, c.rate, c.objective);
  double least = CostAt(c, p, 1);
  for (int n = 2; n <= c.knee; ++n) least = std::min(least, CostAt(c, p, n));
  const int n = target.TargetAt(p);
  RC_ASSERT(n >= 1);
  RC_ASSERT(n <= c.knee);
  RC_ASSERT(CostAt(c, p, n) <= least * (1 + 1e-9));
  RC_ASSERT(std::abs(target.DemandAt(p) - c.rate * c.threads * Seconds(c.curve.Mean(n)) / n) <=
            1e-9 * target.DemandAt(p));
}

RC_GTEST_PROP(TargetProperty, GrowsWithThePriceWhileDemandFalls, ()) {
  const Case c = DrawCase();
  const TargetCurve target(c.curve, c.knee, c.threads, c.rate, c.objective);
  int rows = 0;
  double demand = 1e300;
  for (int e = -40; e <= 60; ++e) {
    const double p = std::pow(10.0, e / 10.0);
    RC_ASSERT(target.TargetAt(p) >= rows);
    RC_ASSERT(target.DemandAt(p) <= demand);
    rows = target.TargetAt(p);
    demand = target.DemandAt(p);
  }
  RC_ASSERT(target.TargetAt(0) == 1);
}

RC_GTEST_PROP(PriceProperty, FitsAndIsTheLeastThatDoes, ()) {
  std::vector<TargetCurve> models;
  for (int i = *rc::gen::inRange(1, 5); i > 0; --i) {
    const Case c = DrawCase();
    models.emplace_back(c.curve, c.knee, c.threads, c.rate, c.objective);
  }
  const double cores = *rc::gen::inRange(1, 200) / 10.0;
  const auto demand = [&](double p) {
    double sum = 0;
    for (const TargetCurve& model : models) sum += model.DemandAt(p);
    return sum;
  };
  const double price = LeastPrice(models, cores);
  if (price == 0) {
    RC_ASSERT(demand(0) <= cores);
  } else if (price >= kPriceMax) {
    RC_ASSERT(demand(kPriceMax) > cores || demand(kPriceMax / 1.01) > cores);
  } else {
    RC_ASSERT(demand(price) <= cores);
    if (price > 1e-6) RC_ASSERT(demand(price / 1.002) > cores);
  }
}

TEST(PriceTest, IsNothingWhileTheCoresSuffice) {
  const TargetCurve model(Affine(100, 10), 64, 1, 1000, 50ms);
  EXPECT_EQ(LeastPrice({&model, 1}, 1.0), 0);
  EXPECT_GT(LeastPrice({&model, 1}, 0.05), 0);
  EXPECT_EQ(LeastPrice({&model, 1}, 0.001), kPriceMax);
}

}  // namespace
}  // namespace evenkeel::policy
