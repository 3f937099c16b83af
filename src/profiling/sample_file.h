// Kept samples as a safetensors file, and back.
//
// Layout: an input is a tensor of its name and type with the rows stacked in front: [rows, row
//   shape...]. A BYTES input is a U8 tensor `name` with all elements end to end and a U64 tensor
//   `name.offsets` with rows x elements + 1 entries; element i is bytes offsets[i] to offsets[i+1].
//   Several sets in one file: names and metadata keys get "0/", "1/" ... in front. Metadata:
//   format, model, signature, inputs (JSON: name, dtype, shape of a row), rows, batched, seen,
//   threshold (hexadecimal floating point), arrived (Unix seconds a row, comma-separated).
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/status.h"
#include "profiling/sampler.h"

namespace evenkeel {

// "x:FP32[64] ids:INT64[32]"
std::string SignatureText(std::span<const TensorSpec> inputs);

// REQUIRES: sets is not empty, and each row has an entry an input that fits its spec. Errors:
// kInvalidArgument (names that collide or are no UTF-8).
Result<std::string> EncodeSamples(std::span<const SampleSet> sets);

// A file of one set. Error kInvalidArgument: no such file, or one that contradicts itself.
Result<SampleSet> DecodeSamples(std::span<const std::byte> file);

}  // namespace evenkeel
