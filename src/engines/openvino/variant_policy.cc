#include "engines/openvino/variant_policy.h"

#include <algorithm>

namespace evenkeel {
namespace {

constexpr size_t kSizesWatched = 256;
constexpr uint32_t kRunsToKnow = 8;
// What a change of size is taken to cost while the size was never seen twice in a row.
constexpr double kAssumedGain = 0.2;

}  // namespace

void VariantPolicy::Mean::Add(Duration took) {
  count = std::min(count + 1, 1u << 30);
  ns += (static_cast<double>(took.count()) - ns) / std::min(count, 32u);
}

void VariantPolicy::OnCommonRun(int64_t rows, bool changed, Duration took) {
  ++runs_;
  if (sizes_.size() >= kSizesWatched && !sizes_.contains(rows)) return;
  Size& size = sizes_[rows];
  (changed ? size.changed : size.same).Add(took);
}

bool VariantPolicy::OnOwnRun(int64_t rows, Duration took) {
  Size& size = sizes_[rows];
  if (size.state != Size::State::kOwn) return false;
  size.last_run = ++runs_;
  size.own.Add(took);
  if (size.own.count != kRunsOnTrial) return true;
  if (size.own.ns <= (1 - kLeastGain) * size.changed.ns) return true;
  size.state = Size::State::kRefused;
  --in_use_;
  return false;
}

// Nanoseconds saved a run, as far as is known.
double VariantPolicy::GainOf(const Size& size) const {
  const double own = size.same.count >= kRunsToKnow ? std::min(size.same.ns, size.changed.ns)
                                                    : (1 - kAssumedGain) * size.changed.ns;
  return size.changed.ns - own;
}

std::optional<int64_t> VariantPolicy::Next() {
  if (compiling_ || in_use_ >= kMaxVariants) return std::nullopt;
  auto best = sizes_.end();
  double most = 0;
  for (auto it = sizes_.begin(); it != sizes_.end(); ++it) {
    const Size& size = it->second;
    if (size.state != Size::State::kCommon || size.changed.count < kRunsBefore) continue;
    const double gain = GainOf(size);
    if (gain < kLeastGain * size.changed.ns || gain * size.changed.count <= most) continue;
    most = gain * size.changed.count;
    best = it;
  }
  if (best == sizes_.end()) return std::nullopt;
  best->second.state = Size::State::kCompiling;
  compiling_ = true;
  return best->first;
}

std::optional<int64_t> VariantPolicy::Unused() {
  if (in_use_ < kMaxVariants) return std::nullopt;
  for (auto& [rows, size] : sizes_) {
    if (size.state != Size::State::kOwn || runs_ - size.last_run < kRunsUnused) continue;
    size = Size();
    --in_use_;
    return rows;
  }
  return std::nullopt;
}

void VariantPolicy::Built(int64_t rows) {
  sizes_[rows].state = Size::State::kOwn;
  sizes_[rows].last_run = runs_;
  compiling_ = false;
  ++in_use_;
}

void VariantPolicy::Refuse(int64_t rows) {
  Size& size = sizes_[rows];
  if (size.state == Size::State::kOwn) --in_use_;
  if (size.state == Size::State::kCompiling) compiling_ = false;
  size.state = Size::State::kRefused;
}

}  // namespace evenkeel
