#include "batching/policy/batch_curve.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace evenkeel::policy {
namespace {

constexpr uint32_t kMeanOver = 16;     // records that the mean remembers
constexpr uint32_t kLargestOver = 32;  // for so long the percentile is the largest seen
constexpr float kStep = 0.5F;          // of the percentile's tracker, in spreads

Duration FromNs(double ns) { return Duration(static_cast<int64_t>(ns)); }

}  // namespace

BatchCurve::Point* BatchCurve::Find(int rows) {
  const auto at = std::lower_bound(points_.begin(), points_.begin() + size_, rows,
                                   [](const Point& p, int r) { return p.rows < r; });
  return at != points_.begin() + size_ && at->rows == rows ? &*at : nullptr;
}

BatchCurve::Point& BatchCurve::Insert(int rows) {
  if (size_ == kMaxSizes) {
    const auto oldest =
        std::min_element(points_.begin() + 1, points_.end() - 1,
                         [](const Point& a, const Point& b) { return a.stamp < b.stamp; });
    std::move(oldest + 1, points_.end(), oldest);
    --size_;
  }
  const auto end = points_.begin() + size_;
  const auto at = std::lower_bound(points_.begin(), end, rows,
                                   [](const Point& p, int r) { return p.rows < r; });
  std::move_backward(at, end, end + 1);
  ++size_;
  *at = Point{};
  at->rows = rows;
  return *at;
}

void BatchCurve::Record(int rows, Duration took) {
  EK_CHECK(rows >= 1);
  if (took <= Duration::zero()) return;
  Point* point = Find(rows);
  if (point == nullptr) point = &Insert(rows);
  point->stamp = ++records_;
  point->count = std::min(point->count + 1, uint32_t{1} << 30);
  const auto ns = static_cast<float>(took.count());
  const float weight = 1.0F / static_cast<float>(std::min(point->count, kMeanOver));
  point->mean_ns += weight * (ns - point->mean_ns);
  point->spread_ns += weight * (std::abs(ns - point->mean_ns) - point->spread_ns);
  if (point->count <= kLargestOver) {
    point->p99_ns = std::max(point->p99_ns, ns);
  } else {
    // Robbins and Monro: up by 0.99 steps where it was exceeded, down by 0.01 where not; at rest where 1 of 100 exceeds it.
    // In steps of at least a part of its distance to the mean, so that one stall among the first is not remembered for ever.
    const float step = std::max(point->spread_ns, (point->p99_ns - point->mean_ns) / 4);
    point->p99_ns += kStep * step * (ns > point->p99_ns ? 0.99F : -0.01F);
  }
  point->p99_ns = std::max(point->p99_ns, point->mean_ns);
}

void BatchCurve::Set(int rows, Duration mean, Duration p99) {
  EK_CHECK(rows >= 1 && mean > Duration::zero() && p99 >= mean);
  Point* point = Find(rows);
  if (point == nullptr) point = &Insert(rows);
  point->mean_ns = static_cast<float>(mean.count());
  point->p99_ns = static_cast<float>(p99.count());
  // Of a normal distribution the 99th percentile lies 2.33 deviations, or 2.9 mean deviations, above the mean.
  point->spread_ns = (point->p99_ns - point->mean_ns) / 2.9F;
  point->count = std::max(point->count, kLargestOver);
  point->stamp = ++records_;
}

void BatchCurve::SetOverhead(Duration overhead) {
  EK_CHECK(overhead >= Duration::zero());
  overhead_ = overhead;
}

Duration BatchCurve::At(int rows, float Point::*figure) const {
  if (size_ == 0) return {};
  const Point* const end = points_.data() + size_;
  const Point* above =
      std::lower_bound(points_.data(), end, rows, [](const Point& p, int r) { return p.rows < r; });
  if (above == end) {
    const Point& last = *(end - 1);
    return overhead_ + FromNs(static_cast<double>(last.*figure) * rows / last.rows);
  }
  if (above->rows == rows || above == points_.data()) return overhead_ + FromNs(above->*figure);
  const Point& below = *(above - 1);
  const double share =
      static_cast<double>(rows - below.rows) / static_cast<double>(above->rows - below.rows);
  const double low = below.*figure;
  return overhead_ + FromNs(low + share * (static_cast<double>(above->*figure) - low));
}

}  // namespace evenkeel::policy
