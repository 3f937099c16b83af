// The classification extension: an output's k largest values as "value:index" or
// "value:index:label" strings, for both protocols.
//
// Contract: for a batched model each row is classified by itself and the result is BYTES [rows, k];
// otherwise BYTES [k]. k is cut to
//   the number of values. Equal values keep their index order; NaN comes last.
// Errors: kInvalidArgument for k < 1 and for outputs that are not numbers (BYTES, BOOL).
// Thread-safety: thread-safe (pure).
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

struct Classification {
  Shape shape;
  std::string bytes;  // BYTES elements in the protocol's binary form
};

Result<Classification> Classify(const TensorSpec& spec, const TensorView& output, bool batched,
                                int64_t k);

}  // namespace evenkeel
