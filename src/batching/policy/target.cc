#include "batching/policy/target.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace evenkeel::policy {
namespace {

constexpr int kBisections = 40;
constexpr double kPriceTolerance = 1e-3;

}  // namespace

int Knee(const BatchCurve& curve, int max_rows, Duration longest, double slack) {
  EK_CHECK(max_rows >= 1 && slack >= 1 && !curve.empty());
  const auto per_row = [&](int n) { return Seconds(curve.Mean(n)) / n; };
  double best = per_row(1);
  for (int n = 2; n <= max_rows; ++n) best = std::min(best, per_row(n));
  int knee = 1;
  while (per_row(knee) > slack * best) ++knee;
  while (knee > 1 && curve.Mean(knee) > longest) --knee;
  return knee;
}

// The target minimises p c(n) + w(n) with c(n) = K T(n)/n and w(n) = (n - 1)/(2 lambda O). As p rises from 0 it walks along the
// lower left convex hull of the points (c, w), from n = 1 to the least c: corners are what Graham's scan leaves.
TargetCurve::TargetCurve(const BatchCurve& curve, int knee, int threads, double rate_rps,
                         Duration objective) {
  EK_CHECK(knee >= 1 && rate_rps >= 0 && objective > Duration::zero());
  const double wait_per_row = rate_rps > 0 ? 1 / (2 * rate_rps * Seconds(objective)) : 1e12;
  struct Point {
    int n;
    double cost, wait;
  };
  std::vector<Point> hull;
  hull.reserve(static_cast<size_t>(knee));
  // The price at which b becomes as good as a.
  const auto price = [](const Point& a, const Point& b) {
    return (b.wait - a.wait) / (a.cost - b.cost);
  };
  for (int n = 1; n <= knee; ++n) {
    const Point point{n, threads * Seconds(curve.Mean(n)) / n, (n - 1) * wait_per_row};
    if (!hull.empty() && point.cost >= hull.back().cost) continue;  // more wait for no gain
    while (hull.size() > 1 &&
           price(hull.back(), point) <= price(hull[hull.size() - 2], hull.back()))
      hull.pop_back();
    hull.push_back(point);
  }
  corners_.reserve(hull.size());
  for (size_t i = 0; i < hull.size(); ++i) {
    const double from = i == 0 ? 0 : price(hull[i - 1], hull[i]);
    corners_.push_back({from, hull[i].n, rate_rps * hull[i].cost});
  }
}

const TargetCurve::Corner& TargetCurve::At(double price) const {
  static constexpr Corner kNothing{0, 1, 0};
  if (corners_.empty()) return kNothing;
  const auto above = std::upper_bound(corners_.begin(), corners_.end(), price,
                                      [](double p, const Corner& c) { return p <= c.from_price; });
  return above == corners_.begin() ? corners_.front() : *(above - 1);
}

int TargetCurve::TargetAt(double price) const { return At(price).rows; }
double TargetCurve::DemandAt(double price) const { return At(price).demand; }

double LeastPrice(std::span<const TargetCurve> models, double cores) {
  const auto fits = [&](double price) {
    double demand = 0;
    for (const TargetCurve& model : models) demand += model.DemandAt(price);
    return demand <= cores;
  };
  if (fits(0)) return 0;
  if (!fits(kPriceMax)) return kPriceMax;
  // By ratio: prices of interest span many powers of ten.
  double low = 1e-6, high = kPriceMax;
  if (fits(low)) return low;
  for (int i = 0; i < kBisections && high > low * (1 + kPriceTolerance); ++i) {
    const double middle = std::sqrt(low * high);
    (fits(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace evenkeel::policy
