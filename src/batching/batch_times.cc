#include "batching/batch_times.h"

#include <algorithm>
#include <iterator>

namespace evenkeel {
namespace {

constexpr uint64_t kLately = 16;        // batches
constexpr double kNewDrift = 1.0 / 16;  // of the moving mean

}  // namespace

void BatchTimes::Record(int rows, Duration compute) {
  Entry& entry = entries_[rows];
  ++entry.count;
  const double weight = 1.0 / static_cast<double>(std::min<uint64_t>(entry.count, 8));
  const auto ns = static_cast<double>(compute.count());
  entry.mean_ns += weight * (ns - entry.mean_ns);
  entry.last = ++batches_;
  if (entry.first_ns <= 0) entry.first_ns = ns / drift_;
  if (entry.first_ns > 0) drift_ += kNewDrift * (ns / entry.first_ns - drift_);
}

void BatchTimes::Set(int rows, Duration mean) {
  const auto ns = static_cast<double>(mean.count());
  entries_[rows] = {ns, 8, ns / drift_, ++batches_};
}

Duration BatchTimes::Estimate(int rows) const { return Between(rows, &Entry::mean_ns); }

Duration BatchTimes::AsOfLate(int rows) const {
  const auto own = entries_.find(rows);
  if (own != entries_.end() && batches_ - own->second.last < kLately) return Estimate(rows);
  const auto first = static_cast<double>(Between(rows, &Entry::first_ns).count());
  return Duration(static_cast<int64_t>(first * drift_));
}

Duration BatchTimes::Between(int rows, double Entry::*what) const {
  if (entries_.empty()) return {};
  const auto ns = [](double value) { return Duration(static_cast<int64_t>(value)); };
  const auto above = entries_.lower_bound(rows);
  if (above != entries_.end() && above->first == rows) return ns(above->second.*what);
  if (above == entries_.begin())
    return ns(above->second.*what);  // smaller than all measured: at most that
  const auto below = std::prev(above);
  const double low = below->second.*what;
  if (above == entries_.end()) return ns(low * rows / below->first);
  const double share =
      static_cast<double>(rows - below->first) / static_cast<double>(above->first - below->first);
  return ns(low + share * (above->second.*what - low));
}

}  // namespace evenkeel
