// The kept rows of one model and input signature while requests are being served.
//
// Contract: Offer() of a request with no candidate row is one compare-and-swap. A candidate is
//   decided under the lock and copied after it. `skip_` counts the rows to pass before the next
//   candidate; whoever finds fewer than its own rows there takes the lock, takes all that is left
//   (exchange with 0, which sends everyone else to the lock), and puts the next skip in place: each
//   row passes exactly once.
// Thread-safety: thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "profiling/reservoir.h"
#include "profiling/sampler.h"

namespace evenkeel {

struct SampleLimits {
  int64_t max_rows = 128;
  size_t max_bytes = size_t{8} << 20;
};

class LiveSampleSet {
 public:
  // `inputs`: shapes of one row, no dynamic axis.
  LiveSampleSet(std::vector<TensorSpec> inputs, bool batched, SampleLimits limits, uint64_t seed);

  // `inputs` in the order of the specs. `now_s` is asked only when a row is kept.
  void Offer(std::span<const TensorView> inputs, int64_t rows,
             const std::function<int64_t()>& now_s) {
    int64_t left = skip_.load(std::memory_order_relaxed);
    while (left >= rows) {
      if (skip_.compare_exchange_weak(left, left - rows, std::memory_order_relaxed)) return;
    }
    Choose(inputs, rows, now_s);
  }

  // Takes over what an earlier run kept; drops at random what no longer fits the limits. Call
  // before any Offer().
  void Restore(const SampleSet& kept);
  // All but the model's name. Rows that are still being copied are left out.
  SampleSet Snapshot() const;
  // Drops rows that arrived before `oldest_s`. Once none is left, rows enter as at the start:
  // without this a stream that slowed down would wait for ever at an old threshold.
  void DropBefore(int64_t oldest_s);
  // Forgets everything and starts counting again.
  void Clear();
  // True once after the kept rows changed.
  bool TakeChanged() { return changed_.exchange(false, std::memory_order_relaxed); }
  void MarkChanged() { changed_.store(true, std::memory_order_relaxed); }

  const std::string& signature() const { return signature_; }
  const std::vector<TensorSpec>& inputs() const { return inputs_; }

 private:
  struct Row {
    SampleRow row;
    size_t bytes = 0;
    std::atomic<bool> ready{false};  // set (release) after the copy, which runs outside the lock
  };
  // One input's bytes of one row.
  using Slices = std::vector<std::span<const std::byte>>;

  void Choose(std::span<const TensorView> inputs, int64_t rows,
              const std::function<int64_t()>& now_s);
  bool SliceRow(std::span<const TensorView> inputs, int64_t rows, int64_t row, Slices* out) const;
  std::shared_ptr<Row> AdmitLocked(const Slices& slices);
  void DropLocked(size_t slot);
  int64_t NextSkipLocked();
  void RearmLocked(uint64_t seen);

  const std::vector<TensorSpec> inputs_;
  const std::string signature_;
  const bool batched_;
  const SampleLimits limits_;
  const bool too_large_;  // no row can ever fit

  std::atomic<int64_t> skip_{0};
  std::atomic<bool> changed_{false};

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  Reservoir reservoir_;
  std::vector<std::shared_ptr<Row>> rows_;
  uint64_t next_ = 0;  // index of the next candidate: rows seen = next_ - skip_
  uint64_t bytes_ = 0;
  uint64_t seed_;
};

}  // namespace evenkeel
