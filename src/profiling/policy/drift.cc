#include "profiling/policy/drift.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace evenkeel {

void DriftDetector::Expect(std::vector<TimedSize> table, bool quota) {
  table_ = std::move(table);
  quota_ = quota;
  seen_.clear();
  looked_ = false;
  ratio_ = 1;
  side_ = 0;
}

const TimedSize* DriftDetector::Find(int rows) const {
  const auto at = std::ranges::lower_bound(table_, rows, {}, &TimedSize::rows);
  return at != table_.end() && at->rows == rows ? &*at : nullptr;
}

bool DriftDetector::Observe(std::span<const LiveSize> live, bool shared, Time now) {
  double live_s = 0, table_s = 0, scatter_s = 0;
  uint64_t ran = 0;
  for (const LiveSize& size : live) {
    const uint64_t before = std::exchange(seen_[size.rows], size.batches);
    const TimedSize* expected = Find(size.rows);
    if (!looked_ || size.batches <= before || expected == nullptr) continue;
    const auto batches = static_cast<double>(size.batches - before);
    live_s += batches * Seconds(size.mean);
    table_s += batches * Seconds(expected->mean);
    scatter_s += batches * Seconds(expected->p99 - expected->mean) / 2;
    ran += size.batches - before;
  }
  looked_ = true;
  if (shared || ran == 0 || table_s <= 0) return false;
  ratio_ = live_s / table_s;
  const double limit = 1 + std::max(kLeastTolerance, scatter_s / table_s);
  const double difference_s = std::abs(live_s - table_s) / static_cast<double>(ran);
  const int where = ratio_ > limit ? 1 : ratio_ < 1 / limit && !quota_ ? -1 : 0;
  const int side = difference_s < Seconds(kLeastDifference) ? 0 : where;
  if (side == 0 || side != side_) {
    side_ = side;
    since_ = now;
    batches_ = 0;
    if (side == 0) return false;
  }
  batches_ += ran;
  if (now - since_ < persists_ || batches_ < kLeastBatches) return false;
  side_ = 0;
  return true;
}

}  // namespace evenkeel
