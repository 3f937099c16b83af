#include "batching/batch_times.h"

#include <algorithm>
#include <iterator>

namespace evenkeel {

void BatchTimes::Record(int rows, Duration compute) {
  Entry& entry = entries_[rows];
  ++entry.count;
  const double weight = 1.0 / static_cast<double>(std::min<uint64_t>(entry.count, 8));
  entry.mean_ns += weight * (static_cast<double>(compute.count()) - entry.mean_ns);
}

void BatchTimes::Set(int rows, Duration mean) {
  entries_[rows] = {static_cast<double>(mean.count()), 8};
}

Duration BatchTimes::Estimate(int rows) const {
  if (entries_.empty()) return {};
  const auto ns = [](double value) { return Duration(static_cast<int64_t>(value)); };
  const auto above = entries_.lower_bound(rows);
  if (above != entries_.end() && above->first == rows) return ns(above->second.mean_ns);
  if (above == entries_.begin())
    return ns(above->second.mean_ns);  // smaller than all measured: at most that
  const auto below = std::prev(above);
  const double low = below->second.mean_ns;
  if (above == entries_.end()) return ns(low * rows / below->first);
  const double share =
      static_cast<double>(rows - below->first) / static_cast<double>(above->first - below->first);
  return ns(low + share * (above->second.mean_ns - low));
}

}  // namespace evenkeel
