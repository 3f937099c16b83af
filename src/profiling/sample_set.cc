#include "profiling/sample_set.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "profiling/sample_file.h"

namespace evenkeel {
namespace {

// Bytes of one row where every input is dense; 0 elements count as nothing.
size_t DenseRowBytes(const std::vector<TensorSpec>& inputs) {
  size_t bytes = 0;
  for (const TensorSpec& spec : inputs) {
    if (spec.dtype == DataType::kBytes) continue;
    const Result<size_t> input = DenseBytes(spec.dtype, spec.shape);
    if (!input.ok() || __builtin_add_overflow(bytes, *input, &bytes)) return SIZE_MAX;
  }
  return bytes;
}

int64_t CapacityOf(const std::vector<TensorSpec>& inputs, const SampleLimits& limits) {
  const size_t row = DenseRowBytes(inputs);
  if (row == 0) return limits.max_rows;
  return std::clamp<int64_t>(static_cast<int64_t>(limits.max_bytes / row), 1, limits.max_rows);
}

}  // namespace

LiveSampleSet::LiveSampleSet(std::vector<TensorSpec> inputs, bool batched, SampleLimits limits,
                             uint64_t seed)
    : inputs_(std::move(inputs)),
      signature_(SignatureText(inputs_)),
      batched_(batched),
      limits_(limits),
      too_large_(DenseRowBytes(inputs_) > limits.max_bytes),
      reservoir_(CapacityOf(inputs_, limits), seed),
      seed_(seed) {
  RearmLocked(0);
}

int64_t LiveSampleSet::NextSkipLocked() {
  return too_large_ ? Reservoir::kLongestSkip : reservoir_.TakeSkip();
}

void LiveSampleSet::RearmLocked(uint64_t seen) {
  const int64_t skip = NextSkipLocked();
  next_ = seen + static_cast<uint64_t>(skip);
  skip_.store(skip, std::memory_order_relaxed);
}

bool LiveSampleSet::SliceRow(std::span<const TensorView> inputs, int64_t rows, int64_t row,
                             Slices* out) const {
  if (inputs.size() != inputs_.size()) return false;
  out->clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorView& view = inputs[i];
    if (view.dtype != inputs_[i].dtype) return false;
    if (view.dtype != DataType::kBytes) {
      const Result<size_t> bytes = DenseBytes(view.dtype, inputs_[i].shape);
      if (!bytes.ok() || view.data.size() / static_cast<size_t>(rows) != *bytes) return false;
      out->push_back(view.data.subspan(static_cast<size_t>(row) * *bytes, *bytes));
      continue;
    }
    const auto elements = inputs_[i].shape.ElementCount();
    int64_t before = 0;
    if (!elements || __builtin_mul_overflow(*elements, row, &before)) return false;
    const Result<size_t> begin = BytesElementsSize(view.data, before);
    if (!begin.ok()) return false;
    const auto rest = view.data.subspan(*begin);
    const Result<size_t> size = BytesElementsSize(rest, *elements);
    if (!size.ok()) return false;
    out->push_back(rest.first(*size));
  }
  return true;
}

void LiveSampleSet::DropLocked(size_t slot) {
  bytes_ -= rows_[slot]->bytes;
  std::swap(rows_[slot], rows_.back());
  rows_.pop_back();
}

// The candidate's place among the kept rows, still empty; null when it is not kept.
std::shared_ptr<LiveSampleSet::Row> LiveSampleSet::AdmitLocked(const Slices& slices) {
  size_t bytes = 0;
  for (const auto& slice : slices) bytes += slice.size();
  if (bytes > limits_.max_bytes) return nullptr;
  const int64_t slot = reservoir_.Admit();
  if (slot == Reservoir::kNotKept) return nullptr;
  auto row = std::make_shared<Row>();
  row->bytes = bytes;
  bytes_ += bytes;
  if (static_cast<size_t>(slot) == rows_.size()) {
    rows_.push_back(row);
  } else {
    bytes_ -= rows_[static_cast<size_t>(slot)]->bytes;
    rows_[static_cast<size_t>(slot)] = row;
  }
  while (bytes_ > limits_.max_bytes) DropLocked(static_cast<size_t>(reservoir_.Evict()));
  return row;
}

void LiveSampleSet::Choose(std::span<const TensorView> inputs, int64_t rows,
                           const std::function<int64_t()>& now_s) {
  if (rows < 1) return;
  std::vector<std::pair<std::shared_ptr<Row>, Slices>> chosen;
  {
    const std::lock_guard lock(mutex_);
    int64_t left = skip_.exchange(0, std::memory_order_relaxed);
    const uint64_t first =
        next_ - static_cast<uint64_t>(left);  // index of this request's first row
    int64_t at = 0;
    Slices slices;
    while (rows - at > left) {
      at += left;
      if (SliceRow(inputs, rows, at, &slices)) {
        if (auto row = AdmitLocked(slices)) chosen.emplace_back(std::move(row), std::move(slices));
      }
      ++at;
      left = NextSkipLocked();
    }
    left -= rows - at;
    next_ = first + static_cast<uint64_t>(rows + left);
    skip_.store(left, std::memory_order_relaxed);
  }
  if (chosen.empty()) return;
  const int64_t now = now_s();
  for (auto& [row, slices] : chosen) {
    row->row.arrived_s = now;
    for (const auto& slice : slices) row->row.inputs.emplace_back(slice.begin(), slice.end());
    row->ready.store(true, std::memory_order_release);
  }
  MarkChanged();
}

void LiveSampleSet::Restore(const SampleSet& kept) {
  const std::lock_guard lock(mutex_);
  EK_CHECK(rows_.empty());
  double threshold = kept.threshold;
  std::vector<std::shared_ptr<const SampleRow>> rows = kept.rows;
  // A larger reservoir takes them all; what is then evicted is drawn by the same rule as ever.
  Reservoir draw(static_cast<int64_t>(rows.size()) + 1, seed_ + 1);
  draw.Restore(static_cast<int64_t>(rows.size()), threshold);
  uint64_t bytes = kept.bytes;
  while (!rows.empty() && (draw.size() > reservoir_.capacity() || bytes > limits_.max_bytes)) {
    auto& leaves = rows[static_cast<size_t>(draw.Evict())];
    for (const auto& input : leaves->inputs) bytes -= input.size();
    std::swap(leaves, rows.back());
    rows.pop_back();
  }
  for (const auto& from : rows) {
    auto row = std::make_shared<Row>();
    row->row = *from;
    for (const auto& input : from->inputs) row->bytes += input.size();
    row->ready.store(true, std::memory_order_release);
    rows_.push_back(std::move(row));
  }
  bytes_ = bytes;
  reservoir_.Restore(static_cast<int64_t>(rows_.size()), draw.threshold());
  RearmLocked(kept.seen);
}

SampleSet LiveSampleSet::Snapshot() const {
  SampleSet set;
  set.signature = signature_;
  set.inputs = inputs_;
  set.batched = batched_;
  const std::lock_guard lock(mutex_);
  set.seen = next_ - static_cast<uint64_t>(skip_.load(std::memory_order_relaxed));
  set.threshold = reservoir_.threshold();
  for (const auto& row : rows_) {
    if (!row->ready.load(std::memory_order_acquire)) continue;
    set.bytes += row->bytes;
    set.rows.emplace_back(row, &row->row);
  }
  return set;
}

void LiveSampleSet::DropBefore(int64_t oldest_s) {
  const std::lock_guard lock(mutex_);
  const size_t before = rows_.size();
  for (size_t i = rows_.size(); i-- > 0;) {
    if (!rows_[i]->ready.load(std::memory_order_acquire) || rows_[i]->row.arrived_s >= oldest_s)
      continue;
    DropLocked(i);
    reservoir_.Forget();
  }
  if (rows_.size() == before) return;
  MarkChanged();
  if (rows_.empty()) reservoir_.Restore(0, 1.0);
  RearmLocked(next_ - static_cast<uint64_t>(skip_.exchange(0, std::memory_order_relaxed)));
}

void LiveSampleSet::Clear() {
  const std::lock_guard lock(mutex_);
  rows_.clear();
  bytes_ = 0;
  reservoir_ = Reservoir(reservoir_.capacity(), ++seed_);
  RearmLocked(0);
  MarkChanged();
}

}  // namespace evenkeel
