#include "batching/policy/aggregator.h"

#include "core/check.h"

namespace evenkeel::policy {

Aggregator::Aggregator(Duration interval, Time start) : interval_ns_(interval.count()) {
  EK_CHECK(interval > Duration::zero());
  for (int r = 0; r < kLevels; ++r) levels_[static_cast<size_t>(r)].index = IndexOf(start, r);
  next_close_ = open_since(0) + this->interval(0);
}

int64_t Aggregator::Close(Level& level, int64_t index) {
  level.ring[static_cast<size_t>(level.index) % kBins] = level.open;
  const int64_t empty = index - level.index - 1;
  for (int64_t i = std::max(level.index + 1, index - kBins); i < index; ++i)
    level.ring[static_cast<size_t>(i) % kBins] = Bin{};
  level.size = static_cast<int>(std::min<int64_t>(level.size + 1 + empty, kBins));
  level.index = index;
  level.open = Bin{};
  return empty;
}

Aggregator::Level Aggregator::Rebinned(const Level& old, int64_t old_ns, int64_t new_ns,
                                       Time now) const {
  const int64_t now_ns = now.time_since_epoch().count();
  const int64_t known_from = (old.index - old.size) * old_ns;
  Level level;
  level.index = now_ns / new_ns;
  const int64_t first = std::max((known_from + new_ns - 1) / new_ns, level.index - kBins);
  level.size = static_cast<int>(std::max<int64_t>(0, level.index - first));
  // Spreads `bin`, counted in [from, to), over the new intervals.
  const auto spread = [&](const Bin& bin, int64_t from, int64_t to) {
    if (bin.requests == 0 && bin.items == 0) return;
    to = std::max(to, from + 1);
    for (int64_t i = std::max(first, from / new_ns); i <= level.index && i * new_ns < to; ++i) {
      const int64_t overlap = std::min(to, (i + 1) * new_ns) - std::max(from, i * new_ns);
      if (overlap <= 0) continue;
      const float share = static_cast<float>(overlap) / static_cast<float>(to - from);
      Bin& into = i == level.index ? level.open : level.ring[static_cast<size_t>(i) % kBins];
      into.requests += share * bin.requests;
      into.items += share * bin.items;
    }
  };
  for (int64_t i = old.index - old.size; i < old.index; ++i)
    spread(old.ring[static_cast<size_t>(i) % kBins], i * old_ns, (i + 1) * old_ns);
  spread(old.open, old.index * old_ns, now_ns);
  return level;
}

void Aggregator::SetInterval(Duration interval, Time now) {
  EK_CHECK(interval > Duration::zero());
  const int64_t old_ns = interval_ns_;
  const int64_t new_ns = interval.count();
  if (old_ns == new_ns) return;
  for (int r = 0; r < kLevels; ++r) {
    Level& level = levels_[static_cast<size_t>(r)];
    level = Rebinned(level, old_ns << (3 * r), new_ns << (3 * r), now);
  }
  interval_ns_ = new_ns;
  next_close_ = open_since(0) + this->interval(0);
}

}  // namespace evenkeel::policy
