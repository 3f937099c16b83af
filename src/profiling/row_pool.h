// The rows that a sweep builds its test batches from: sampled live inputs, or made up from the model's signature.
//
// Contract: Fill() lays rows first, first + 1 ... (around the end) into an arena, one tensor an input, each at a multiple of 64 bytes.
//   Made-up rows: ids uniform in their range (0 to 1 where none is known), floats uniform in [0, 1), BYTES elements of 16 letters,
//   free dimensions 1. The same seed gives the same rows.
// Thread-safety: immutable, thread-safe. Source: A4 (test data sets of different batch sizes from the saved inputs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "profiling/sampler.h"

namespace evenkeel {

class RowPool {
 public:
  // Error kInvalidArgument: the samples do not fit the signature (names, types, sizes).
  static Result<RowPool> FromSamples(const Signature& signature, const SampleSet& samples);
  // Error kTooLarge: a row of more than 256 MiB.
  static Result<RowPool> FromSignature(const Signature& signature, size_t rows, uint64_t seed);

  size_t size() const { return rows_.size(); }
  // The inputs' shapes without the batch axis.
  const std::vector<Shape>& row_shapes() const { return shapes_; }

  // REQUIRES: rows >= 1, and 1 where the model does not batch. Error kTooLarge: the arena is too small.
  Result<std::vector<TensorView>> Fill(size_t first, int rows, std::span<std::byte> arena) const;
  // A batch of zeros of as many bytes, of which only the first `used` are written: the arena holds zeros from there on. nullopt where
  // zeros are no rows of the model (BYTES, ids that begin above 0) or the arena is too small.
  std::optional<std::vector<TensorView>> Blank(int rows, std::span<std::byte> arena,
                                               size_t used) const;
  // Bytes that Fill() needs for `rows` rows at most.
  size_t BytesOf(int rows) const;

 private:
  using Row = std::vector<std::vector<std::byte>>;  // dense bytes, or BYTES elements, an input

  TensorView ViewOf(size_t input, int rows, std::span<std::byte> data) const;

  bool batched_ = false;
  bool zeros_are_rows_ = true;
  std::vector<DataType> dtypes_;
  std::vector<Shape> shapes_;
  std::vector<Row> rows_;
};

}  // namespace evenkeel
