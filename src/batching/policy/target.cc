#include "batching/policy/target.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace evenkeel::policy {
namespace {

constexpr uint32_t kWellKnown = 16;  // what BatchCurve's means remember
constexpr int kBisections = 40;
constexpr double kPriceTolerance = 1e-3;

}  // namespace

int Knee(const BatchCurve& curve, int max_rows, Duration longest, double slack) {
  EK_CHECK(max_rows >= 1 && slack >= 1 && !curve.empty());
  // time[n], rows[n]: sums of w T and w m over m <= n.
  std::vector<double> time(static_cast<size_t>(max_rows) + 1), rows(time.size());
  auto point = curve.points().begin();
  for (int n = 1; n <= max_rows; ++n) {
    const auto at = static_cast<size_t>(n);
    while (point != curve.points().end() && point->rows < n) ++point;
    const bool known = point != curve.points().end() && point->rows == n;
    const double weight = known ? std::min(point->count, kWellKnown) : 1;
    time[at] = time[at - 1] + weight * Seconds(curve.Mean(n));
    rows[at] = rows[at - 1] + weight * n;
  }
  const auto per_row = [&](int low, int high) {
    const auto below = static_cast<size_t>(low - 1);
    const auto above = static_cast<size_t>(std::min(high, max_rows));
    return (time[above] - time[below]) / (rows[above] - rows[below]);
  };
  const auto wide = [&](int n) { return per_row((n + 1) / 2, 2 * n); };
  const auto narrow = [&](int n) { return per_row((2 * n + 2) / 3, 3 * n / 2); };
  double best_wide = wide(1), best = narrow(1);
  for (int n = 2; n <= max_rows; ++n) {
    best_wide = std::min(best_wide, wide(n));
    best = std::min(best, narrow(n));
  }
  int knee = 1;
  if (wide(1) > slack * best_wide) {
    while (narrow(knee) > slack * best) ++knee;
  }
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
