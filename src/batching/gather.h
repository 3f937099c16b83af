// Copies rows into a batch's buffer and cuts a batch's outputs back into rows: the one copy in, and the views for the one copy out.
//
// Contract: pure byte work, no locks. Rows of part k come before those of part k+1; padding repeats the last row.
// Thread-safety: thread-safe on distinct buffers.
// Source: A11.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "batching/queue.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

// Sets where each part's rows lie in the call's inputs, and the bytes they take in a batch's arena,
// alignment included: one pass over the inputs, however many parts. REQUIRES: the call was checked;
// every part's rows are set.
void CutInputs(Request& request);

// Gathers `parts` into `arena` and pads to `run_rows`. Returns one view an input, in signature order.
// Error kTooLarge when the arena is too small.
Result<std::vector<TensorView>> GatherBatch(const Signature& signature,
                                            std::span<Part* const> parts, int run_rows,
                                            std::span<std::byte> arena);

// Fills `arena` with a batch of `rows` plausible rows for warming: zeros, or the lowest id of a range if zero is outside; free
// dimensions are 1. `untouched`: the arena was used for warm-ups only so far, and was made of zeros. They are then not written: whoever
// touches a page of shared memory first is charged for it, and that is to be the worker, which reads them.
// REQUIRES: the signature has no free dimension but the batch axis.
Result<std::vector<TensorView>> WarmBatch(const Signature& signature, int rows,
                                          std::span<std::byte> arena, bool untouched);

// Arena bytes of such a batch; nullopt when a size overflows.
std::optional<size_t> WarmBytes(const Signature& signature, int rows);

// True when every input dimension but the batch axis is fixed, so that batches can be warmed and all rows share one lane.
bool RowShapesFixed(const Signature& signature);

// Walks the outputs of one batch from its first row on.
class Scatter {
 public:
  // Error kInternal when an output does not have `run_rows` rows (the model does not batch along axis 0).
  static Result<Scatter> Create(const Signature& signature, std::span<const TensorView> outputs,
                                int run_rows);
  // The next `rows` rows of every output. Views point into the batch's memory.
  Status Next(int rows, std::vector<TensorView>* views);

 private:
  Scatter(std::span<const TensorView> outputs, bool batched)
      : outputs_(outputs), batched_(batched), at_(outputs.size()) {}

  std::span<const TensorView> outputs_;
  bool batched_;
  std::vector<size_t> at_;  // bytes consumed of each output
};

}  // namespace evenkeel
